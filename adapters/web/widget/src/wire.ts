// What the channel and the widget say to each other: adapters/README.md describes it, adapters/web answers it.

export interface Owner {
  kind: "bot" | "queued" | "agent" | "captured" | "closed";
  name?: string;
  position?: number;
}

export interface Choice {
  id: string;
  label: string;
}

export interface Attachment {
  id: string;
  name: string;
  type: string;
  size: number;
}

export interface Part {
  text?: string;
  lang?: string;
  choices?: Choice[];
  attachments?: Attachment[];
  link?: string;
}

/** One event of a conversation. Events of one conversation are numbered 1, 2, 3 … by vseq, without gaps. */
export interface Visible {
  conversation: string;
  vseq: number;
  at: string;
  type: "message" | "owner" | "rating" | "closed" | "reopened" | "delivery_failed";
  id?: string;
  client_id?: string;
  by?: "customer" | "bot" | "agent" | "system";
  name?: string;
  turn?: string;
  part?: Part;
  owner?: Owner;
}

/** What goes out over a link. The id makes a repeat safe: the same id takes effect once. */
export type Outgoing =
  | { type: "message"; id: string; text?: string; action?: Choice; attachments?: string[]; lang?: string }
  | { type: "human"; id: string }
  | { type: "typing"; on: boolean }
  | { type: "read"; cursor: string };

/** What comes in over a link, beside its end. */
export type Incoming =
  | { type: "ready"; visitor?: string; conversation?: string; owner?: Owner; cursor?: string; end?: string }
  | { type: "event"; cursor: string; event: Visible }
  | { type: "accepted"; id: string; cursor?: string; dup?: boolean }
  | { type: "error"; id?: string; code: string; retry_after?: number }
  | { type: "typing"; on?: boolean; by?: string; name?: string }
  | { type: "position"; position: number }
  | { type: "read"; cursor: string }
  | { type: "pong" };

/** The answer to POST …/session. */
export interface SessionAnswer {
  token: string;
  visitor: string;
  expires_at: string;
  owner?: Owner;
  cursor?: string;
}

/** The answer to GET …/widget: how the channel looks and what may be sent. */
export interface Face {
  title: string;
  greeting?: Record<string, string>;
  theme: Theme;
  files?: { max_bytes: number; types: string[]; count: number };
  text_bytes: number;
  page: string;
}

export interface Palette {
  accent: string;
  on_accent: string;
  soft: string;
  background: string;
}

export interface Theme {
  light: Palette;
  dark: Palette;
  radius: number;
  bubble: number;
  font?: string;
  size: number;
}

/** Splits a cursor; null for what is none. */
export function parseCursor(cursor: string): { conversation: string; vseq: number } | null {
  const dot = cursor.lastIndexOf(".");
  const vseq = Number(cursor.slice(dot + 1));
  return dot > 0 && Number.isSafeInteger(vseq) ? { conversation: cursor.slice(0, dot), vseq } : null;
}
