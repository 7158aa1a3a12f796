// What the agents' API says (gateway/README.md). Fields that are empty, zero or unknown are absent.

export type OwnerKind = "bot" | "queued" | "agent" | "captured" | "closed";

export interface Owner {
  kind: OwnerKind;
  queue?: string;
  agent?: string;
  name?: string;
}

/** A term of ownership. Compare both: a number can be given twice after a lost tail, an operation cannot. */
export interface Epoch {
  n: number;
  op: string;
}

export type By = "customer" | "bot" | "agent" | "system";

export interface Me {
  tenant: string;
  id: string;
  name: string;
  role: string;
  queues?: string[] | null;
  capacity: number;
}

export interface Presence {
  on: boolean;
  until?: string;
  capacity: number;
  load: number;
}

export interface Row {
  conversation: string;
  channel: string;
  language?: string;
  customer?: string;
  owner: Owner;
  seq: number;
  position?: number;
  priority?: number;
  since?: string;
  rule?: string;
  reason?: string;
  skills?: string[];
  tags?: string[];
  must_reach_human?: boolean;
  returns?: number;
  snoozed_until?: string;
  owed?: string;
  /** Until when the channel takes a reply. */
  window_until?: string;
  last?: { seq: number; by: By; kind?: string; text: string; at: string };
}

export interface Profile {
  subject: string;
  name?: string;
  email?: string;
  phone?: string;
  fields?: Record<string, string | number | boolean>;
  level?: string;
}

/** What the tenant's own system said of a customer, and when. */
export interface Account {
  subject: string;
  at: string;
  unknown?: boolean;
  name?: string;
  fields?: Record<string, string | number | boolean>;
  tickets?: Ticket[];
}

export interface Ticket {
  id: string;
  subject?: string;
  status?: string;
  at?: string;
  url?: string;
}

export interface Held {
  id: string;
  until?: string;
  by?: string;
}

export interface Previous {
  conversation: string;
  channel: string;
  owner: OwnerKind;
  opened_at?: string;
  closed_at?: string;
  tags?: string[];
  about?: string;
}

export interface Page {
  events: Event[];
  earlier?: boolean;
  more?: boolean;
}

export interface Context extends Row, Page {
  epoch: Epoch;
  address?: string;
  contact?: string;
  profile?: Profile;
  account?: Account;
  /** Whether the tenant's own system can be asked who the customer is. */
  lookup?: boolean;
  opened_at?: string;
  closed_at?: string;
  handoffs?: number;
  in_flight?: string;
  held_out?: Held[];
  held_in?: Held[];
  previous?: Previous[];
}

export interface Attachment {
  id: string;
  name: string;
  type: string;
  size: number;
}

export interface Choice {
  id: string;
  label: string;
}

export interface Part {
  text?: string;
  lang?: string;
  choices?: Choice[];
  attachments?: Attachment[];
  link?: string;
}

export type Scores = Partial<Record<"human_request" | "frustration" | "repeat" | "bot_fallback" | "bot_repeat", number>>;

export interface Message extends Part {
  id: string;
  by: By;
  name?: string;
  kind?: string;
  quoted?: string;
  choice?: Choice;
  scores?: Scores;
  rules?: number;
  rule?: string;
  turn?: string;
  held?: boolean;
  until?: string;
  reason?: string;
}

export interface Decision {
  kind: "pass" | "handoff" | "replace" | "say" | "tag" | "route" | "deny";
  phase: "inbound" | "answer";
  turn?: string;
  message?: number;
  rules?: number;
  rule?: string;
  matched?: string[];
  shadow?: string[];
  failed?: string[];
  tags?: string[];
  /** The bot that it gave the conversation to. */
  route?: string;
  must_reach_human?: boolean;
  scores?: Scores;
  bot?: { confidence?: number; intent?: string; fallback?: boolean; handoff?: string; sources?: number };
  withheld?: Part[];
}

export interface Event {
  seq: number;
  vseq?: number;
  at: string;
  type: string;
  actor: { kind: string; id?: string };
  epoch: Epoch;
  message?: Message;
  note?: { id: string; text: string };
  status?: { message: string; status: string; code?: string };
  turn?: { id: string; from?: number; to?: number; bot?: string; attempt?: number; reason?: string; final?: boolean; answer?: Part[] };
  decision?: Decision;
  handoff?: { rule: string; reason?: string; queue: string; priority: number; skills?: string[]; turn?: string; in_flight?: string[] };
  owner?: { from: Owner; to: Owner; reason: string; position?: number; in_flight?: string[] };
  timer?: { name: string; at: string };
  offer?: { agent: string; until?: string };
  profile?: Profile;
  account?: Account;
  contact?: string;
  reason?: string;
  previous?: string;
}

/** What every act answers. */
export interface Result {
  conversation: string;
  owner: Owner;
  epoch: number;
  seq: number;
  message?: string;
  note?: string;
  held_until?: string;
  repeated?: boolean;
}

export interface Colleagues {
  agents: { id: string; name: string; queues?: string[]; on: boolean; capacity: number; load: number }[];
  queues: string[] | null;
}

export interface Frame {
  type: string;
  cursor?: string;
  now?: string;
  me?: Me;
  changes?: { conversation: string; owner?: Owner; queue?: string; seq?: number; gone?: boolean }[];
  conversation?: string;
  event?: Event;
  presence?: Presence;
  on?: boolean;
  vseq?: number;
  code?: string;
  detail?: string;
}
