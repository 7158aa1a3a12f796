import type { Send } from "./outbox.ts";
import type { Decision, Event, Message, Owner, OwnerKind, Part, Scores } from "./wire.ts";

/** How the line runs beside an item: who has the conversation there. */
export type Line = "bot" | "queue" | "human" | "closed";

export function lineOf(kind: OwnerKind): Line {
  switch (kind) {
    case "agent": return "human";
    case "queued":
    case "captured": return "queue";
    case "closed": return "closed";
    case "bot": return "bot";
  }
}

/** How far a message has come. "here" are those that only this device knows of. */
export type Delivery =
  | { state: "here"; send: Send }
  | { state: "held"; until: number }
  | { state: "sent" | "delivered" | "read" | "uncertain" | "queued" | "cancelled" | "discarded" }
  | { state: "failed"; code: string };

interface Base {
  key: string;
  seq: number;
  at: number;
  line: Line;
}

export interface MessageItem extends Base {
  kind: "message";
  message: Message;
  /** Of what was said to the customer; of the customer's own there is none. */
  delivery?: Delivery;
  mine: boolean;
  /** Its send was under way when people took over: the customer may still get it. */
  inFlight: boolean;
  /** The words that made a rule hand the conversation over. */
  decided: boolean;
}

export interface NoteItem extends Base {
  kind: "note";
  text: string;
  author: string;
  send?: Send;
}

/** The diversion to people: why, and where to. */
export interface HandoffItem extends Base {
  kind: "handoff";
  rule: string;
  reason: string;
  queue: string;
  priority: number;
  quote: string;
  scores: [string, number][];
  others: string[];
  withheld: Part[];
  inFlight: number;
  from: Line;
}

export interface EventItem extends Base {
  kind: "event";
  /** Who, in bold; may be empty. */
  who: string;
  text: string;
  tone?: "warn" | "bad";
  /** What the bot said and the customer did not get. */
  withheld?: Part[];
  /** Set where the line changes its track here. */
  from?: Line;
}

export interface DayItem extends Base {
  kind: "day";
}

export type Item = MessageItem | NoteItem | HandoffItem | EventItem | DayItem;

/** What a thread is made of beside its events. */
export interface Around {
  me: string;
  /** The owner at the end of the events. */
  owner: Owner;
  /** Names of people by id. */
  name: (id: string) => string;
  /** What this device has not seen in the log yet. */
  sends: readonly Send[];
  /** How far the customer has read, as a place in what the customer sees. */
  readUpTo: number;
  /** The names under which rules' signals are shown. */
  signal: (name: string) => string;
}

const threshold = 0.3; // below this a score says nothing to a person

export function scoresOf(scores: Scores | undefined, signal: (name: string) => string): [string, number][] {
  return Object.entries(scores ?? {})
    .filter(([, v]) => v >= threshold)
    .sort((a, b) => b[1] - a[1])
    .map(([k, v]) => [signal(k), v]);
}

/** Who had the conversation before the first of the events: told by the first change of owner, else it is who has it now. */
function ownerBefore(events: readonly Event[], now: Owner): Owner {
  for (const e of events) {
    if (e.owner) return e.owner.from;
    if (e.type === "conversation.opened") return { kind: "bot" };
  }
  return now;
}

/** A name inside of a sentence keeps its direction to itself. */
const apart = (name: string) => `\u2068${name}\u2069`;

const dayOf = (ms: number) => new Date(ms).toDateString();

/** Makes what a thread shows out of the log. The line is drawn from changes of owner, never from who speaks. */
export function foldThread(events: readonly Event[], around: Around): Item[] {
  const fold = new Fold(around, lineOf(ownerBefore(events, around.owner).kind));
  for (const e of events) fold.prepare(e);
  for (const e of events) fold.add(e);
  return fold.end();
}

class Fold {
  private readonly items: Item[] = [];
  private readonly status = new Map<string, { status: string; code: string }>();
  private readonly undone = new Set<string>();
  private readonly sent = new Set<string>();
  private readonly inFlight = new Set<string>();
  private readonly decided = new Set<number>();
  private readonly said = new Map<number, Message>();
  private decision: Decision | undefined;
  private handoff: HandoffItem | undefined;
  private readonly around: Around;
  private line: Line;

  constructor(around: Around, line: Line) {
    this.around = around;
    this.line = line;
  }

  /** Takes note of what later events say of earlier ones. */
  prepare(e: Event): void {
    if (e.status) {
      const { message, status, code } = e.status;
      if (status === "undone" || status === "rejected") this.undone.add(message);
      else this.status.set(message, { status, code: code ?? "" });
    }
    if (e.message && e.type !== "message.held") this.sent.add(e.message.id);
    if (e.type === "message.received" && e.message) this.said.set(e.seq, e.message);
    for (const id of [...(e.owner?.in_flight ?? []), ...(e.handoff?.in_flight ?? [])]) this.inFlight.add(id);
    if (e.decision?.kind === "handoff" && e.decision.phase === "inbound" && e.decision.message) this.decided.add(e.decision.message);
  }

  add(e: Event): void {
    const at = Date.parse(e.at);
    const base = { key: String(e.seq), seq: e.seq, at, line: this.line };
    const event = (who: string, text: string, more: Partial<EventItem> = {}) =>
      this.push({ ...base, kind: "event", who, text, ...more, line: this.line });
    switch (e.type) {
      case "message.received":
      case "message.sent":
        if (e.message) this.message(base, e.message, e);
        return;
      case "message.held":
        if (!e.message || this.sent.has(e.message.id) || this.undone.has(e.message.id)) return;
        this.message(base, e.message, e);
        return;
      case "note.added":
        if (e.note) this.push({ ...base, key: e.note.id, kind: "note", text: e.note.text, author: this.who(e) });
        return;
      case "decision.made":
        if (e.decision) this.decide(e.decision, event);
        return;
      case "handoff.made":
        this.divert(e, base);
        return;
      case "owner.changed":
        if (e.owner) this.moved(e, at, event);
        return;
      case "turn.failed":
        if (e.turn?.final) event("The bot", `did not answer: ${failure(e.turn.reason ?? "")}`, { tone: "warn" });
        return;
      case "turn.discarded": {
        const answer = e.turn?.answer ?? [];
        if (answer.length) event("", "The bot’s answer came after the takeover and was not sent", { withheld: answer });
        return;
      }
      case "timer.set":
        if (e.timer?.name !== "snooze") return;
        if (Date.parse(e.timer.at) > 0) event(this.who(e), `put it aside until ${clockTime(Date.parse(e.timer.at))}`);
        else event(this.who(e), "took it up again");
        return;
      case "timer.fired":
        if (e.timer?.name === "snooze") event("", "It is back: its time has come");
        return;
      case "offer.made":
        if (e.offer) event("", `Offered to ${apart(this.around.name(e.offer.agent))}`);
        return;
      case "profile.changed":
        if (e.profile) event("", e.profile.name ? `Identified as ${apart(e.profile.name)}` : "Identified");
        else if (e.actor.id) event(this.who(e), "asked your own system who this is");
        return; // what the system says by itself stands beside the thread
      case "conversation.reopened":
        event("", "The customer wrote again: reopened");
        return;
      case "conversation.closed":
        if (e.reason && e.reason !== "resolved" && e.reason !== "resolve") event("", `Closed: ${closeReason(e.reason)}`);
        return;
      case "conversation.erased":
        event("", "The content of this conversation was erased");
        return;
    }
  }

  private message(base: Base, m: Message, e: Event): void {
    const mine = m.by === "agent" && e.actor.id === this.around.me;
    const item: MessageItem = {
      ...base, key: m.id, kind: "message", message: m, mine, inFlight: this.inFlight.has(m.id), decided: this.decided.has(e.seq),
    };
    if (m.by !== "customer") item.delivery = this.delivery(m, e);
    this.push(item);
  }

  private delivery(m: Message, e: Event): Delivery {
    if (m.held) return { state: "held", until: m.until ? Date.parse(m.until) : 0 };
    const s = this.status.get(m.id);
    if (s?.status === "failed") return { state: "failed", code: s.code };
    if (s?.status === "read" || (e.vseq && e.vseq <= this.around.readUpTo)) return { state: "read" };
    switch (s?.status) {
      case "delivered":
      case "uncertain":
      case "queued":
      case "cancelled":
      case "discarded":
        return { state: s.status };
    }
    return { state: "sent" };
  }

  private decide(d: Decision, event: (who: string, text: string, more?: Partial<EventItem>) => void): void {
    if (d.route) event("", `Rule ${d.rule ?? ""} gave it to the bot ${d.route}`);
    switch (d.kind) {
      case "handoff":
        this.decision = d;
        return;
      case "replace":
        event("", `Rule ${d.rule ?? ""} replaced the bot’s answer`, { withheld: d.withheld ?? [] });
        return;
      case "tag":
        if (d.tags?.length) event("", `Rule ${d.rule ?? d.matched?.[0] ?? ""} tagged it ${d.tags.join(", ")}`);
        return;
      case "deny":
        event("", "Refused: the state of the conversation does not allow it");
        return;
    }
  }

  private divert(e: Event, base: Base): void {
    const h = e.handoff;
    if (!h) return;
    const d = this.decision?.rule === h.rule ? this.decision : undefined;
    const judged = d?.message ? this.said.get(d.message) : undefined;
    const item: HandoffItem = {
      ...base, kind: "handoff", rule: h.rule, reason: h.reason ?? "", queue: h.queue, priority: h.priority,
      quote: shorten(judged?.text ?? "", 90), scores: scoresOf(d?.scores ?? judged?.scores, this.around.signal),
      others: (d?.matched ?? []).filter((r) => r !== h.rule), withheld: d?.withheld ?? [],
      inFlight: h.in_flight?.length ?? 0, from: this.line,
    };
    this.decision = undefined;
    this.handoff = item;
    this.push(item);
  }

  private moved(e: Event, at: number, event: (who: string, text: string, more?: Partial<EventItem>) => void): void {
    const { from, to, reason, position, in_flight } = e.owner!;
    const before = this.line;
    this.line = lineOf(to.kind);
    const handoff = this.handoff;
    const own = reason === "handoff" && handoff?.seq !== undefined && e.seq - handoff.seq <= 2;
    const track = before !== this.line ? { from: before } : {};
    if (own) {
      // The handoff before it has said it all; the line leaves it on its new track.
      handoff!.line = this.line;
      handoff!.inFlight = Math.max(handoff!.inFlight, in_flight?.length ?? 0);
      if (to.kind === "queued" && to.queue) event("", `Waits in ${to.queue}${position ? `, place ${position}` : ""}`);
      return;
    }
    const who = this.who(e);
    const flying = in_flight?.length ?? 0;
    switch (reason) {
      case "claim":
        event(who, `${before === "bot" ? "took over from the bot" : "took it"}${this.waited(at, before)}`, track);
        break;
      case "transfer":
        event(who, `passed it to ${to.kind === "agent" ? apart(to.name || this.around.name(to.agent ?? "")) : to.queue ?? "a queue"}`, track);
        break;
      case "escalate": event(who, `passed it up to ${to.queue ?? "a queue"}`, track); break;
      case "release": event(who, "gave it back to the bot", track); break;
      case "resolve": event(who, "resolved it", track); break;
      case "auto_return": event("", "Back to the bot, which works again", track); break;
      case "capture": event("", "Set aside: too many wait", track); break;
      case "opening": event("", `Waits in ${to.queue ?? "its queue"}, which has opened`, track); break;
      case "reopen": event("", to.kind === "queued" ? `Reopened, waits in ${to.queue ?? "its queue"}` : "Reopened", track); break;
      case "idle": event("", "Closed: nothing was said for a long time", track); break;
      default: event(who, `${ownerWords(from)} → ${ownerWords(to)}`, track);
    }
    if (flying) {
      event("", `In flight at takeover: ${flying === 1 ? "one bot message was" : `${flying} bot messages were`} already on the way and may arrive`, { tone: "warn" });
    }
  }

  private waited(at: number, before: Line): string {
    if (!this.handoff || before !== "queue") return "";
    const s = Math.round((at - this.handoff.at) / 1000);
    return s > 0 ? ` after ${span(s)}` : "";
  }

  private who(e: Event): string {
    if (e.actor.kind === "agent" || e.actor.kind === "supervisor") {
      return e.actor.id === this.around.me ? "You" : this.around.name(e.actor.id ?? "");
    }
    return "";
  }

  private push(item: Item): void {
    const last = this.items.at(-1);
    if (!last || dayOf(last.at) !== dayOf(item.at)) {
      this.items.push({ kind: "day", key: `day${item.seq}${item.key}`, seq: item.seq, at: item.at, line: item.kind === "handoff" ? item.from : "from" in item && item.from ? item.from : item.line });
    }
    this.items.push(item);
  }

  /** Puts what only this device knows of at the end. */
  end(): Item[] {
    const line = lineOf(this.around.owner.kind);
    for (const send of this.around.sends) {
      if (send.message && (this.sent.has(send.message) || this.hasItem(send.message))) continue;
      if (send.tries > 0 && send.state !== "refused" && this.overtaken(send)) continue;
      const base = { key: send.key, seq: Infinity, at: send.at, line };
      if (send.mode === "note") this.push({ ...base, kind: "note", text: send.text, author: "You", send });
      else {
        this.push({
          ...base, kind: "message", mine: true, inFlight: false, decided: false, delivery: { state: "here", send },
          message: { id: send.key, by: "agent", text: send.text },
        });
      }
    }
    return this.items;
  }

  /** Whether the log shows it already, while the answer to the request that said it is still out, or was lost. */
  private overtaken(send: Send): boolean {
    return this.items.some((i) =>
      i.seq > send.after && i.seq !== Infinity &&
      (send.mode === "note" ? i.kind === "note" && i.author === "You" && i.text === send.text
        : i.kind === "message" && i.mine && i.message.text === send.text));
  }

  private hasItem(key: string): boolean {
    return this.items.some((i) => i.key === key);
  }
}

function ownerWords(o: Owner): string {
  switch (o.kind) {
    case "bot": return "the bot";
    case "agent": return o.name ?? "a person";
    case "queued": return o.queue ?? "a queue";
    case "captured": return "set aside";
    case "closed": return "closed";
  }
}

function failure(reason: string): string {
  const words: Record<string, string> = {
    timeout: "it took too long", unreachable: "it cannot be reached", status: "it answered with an error",
    garbage: "its answer could not be read", too_large: "its answer was too large", refused: "it refused",
    breaker_open: "it failed too often and is left alone for a while", budget: "the day’s calls are used up",
    gave_up: "it was tried several times",
  };
  return words[reason] ?? reason;
}

function closeReason(reason: string): string {
  const words: Record<string, string> = { idle: "nothing was said for a long time", customer: "by the customer", bot_end: "by the bot" };
  return words[reason] ?? reason;
}

export function shorten(s: string, n: number): string {
  const runes = [...s];
  return runes.length <= n ? s : runes.slice(0, n - 1).join("") + "…";
}

/** A length of time in words, for what is over: "1 m 54 s". */
export function span(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  const d = Math.floor(s / 86400), h = Math.floor((s % 86400) / 3600), m = Math.floor((s % 3600) / 60);
  if (d) return h ? `${d} d ${h} h` : `${d} d`;
  if (h) return m ? `${h} h ${m} m` : `${h} h`;
  return m ? `${m} m ${s % 60} s` : `${s} s`;
}

const hhmm = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

export function clockTime(ms: number): string {
  return hhmm.format(ms);
}
