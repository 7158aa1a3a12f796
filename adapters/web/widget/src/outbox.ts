import type { Shelf } from "./shelf.ts";
import type { Attachment, Choice, Outgoing } from "./wire.ts";

/** Something that the customer wants to send. It is on the shelf before it is on its way. */
export interface Entry {
  /** The message's id on the wire, new for each. */
  id: string;
  /** Orders entries, also among tabs: milliseconds, then a counter. */
  at: number;
  n: number;
  /** The tab that wrote it. */
  tab: string;
  kind: "message" | "human";
  text?: string;
  action?: Choice;
  attachments?: Attachment[];
  lang?: string;
  /** Why the server will not take it; absent while it may. */
  failed?: string;
}

/** What an entry looks like to its author, who also has those that are accepted but not yet part of the conversation. */
export interface Waiting extends Entry {
  state: "waiting" | "sending" | "accepted" | "failed";
}

const prefix = "out.";

/**
 * The outbox holds what is not yet known to be in the log of the conversation. Each entry has a name of its own on the
 * shelf, so that tabs that write at the same time cannot lose each other's. An entry leaves when the server accepts it or
 * shows it; until then it is sent again after every break, by whichever tab is there: the id makes that harmless.
 */
export class Outbox {
  private entries = new Map<string, Waiting>();
  private n = 0;

  constructor(
    private readonly shelf: Shelf,
    private readonly tab: string,
    private readonly now: () => number,
  ) {
    this.reload();
  }

  /** All entries in the order in which they were written. */
  list(): Waiting[] {
    return [...this.entries.values()].sort((a, b) => a.at - b.at || a.n - b.n || (a.id < b.id ? -1 : 1));
  }

  /** The entry to send next. Those of other tabs are left to them for as long as they are younger than grace. */
  next(grace: number): Waiting | undefined {
    return this.list().find((e) => e.state === "waiting" && (e.tab === this.tab || this.now() - e.at >= grace));
  }

  get(id: string): Waiting | undefined {
    return this.entries.get(id);
  }

  add(what: Omit<Entry, "at" | "n" | "tab">): Entry {
    const entry: Entry = { ...what, at: this.now(), n: this.n++, tab: this.tab };
    this.keep(entry);
    this.entries.set(entry.id, { ...entry, state: "waiting" });
    return entry;
  }

  /** Something was sent and has no answer yet. */
  sending(id: string): void {
    this.mark(id, "sending");
  }

  /** A break: what had no answer is sent again. */
  broken(): void {
    for (const e of this.entries.values()) if (e.state === "sending") e.state = "waiting";
  }

  /** The server has it. It stays in sight until the conversation shows it. */
  accepted(id: string): void {
    this.shelf.drop(prefix + id);
    this.mark(id, "accepted");
  }

  /** The conversation shows it, or the author gave it up. */
  remove(id: string): void {
    this.shelf.drop(prefix + id);
    this.entries.delete(id);
  }

  /** The server refused it for good, unless it is sent again on purpose. */
  refused(id: string, code: string): void {
    const entry = this.entries.get(id);
    if (!entry) return;
    entry.failed = code;
    entry.state = "failed";
    this.keep(entry);
  }

  retry(id: string): void {
    const entry = this.entries.get(id);
    if (entry?.state !== "failed") return;
    delete entry.failed;
    entry.state = "waiting";
    this.keep(entry);
  }

  /** Lets go of what was accepted into a conversation that is not shown any more. */
  leave(): void {
    for (const e of this.entries.values()) if (e.state === "accepted") this.entries.delete(e.id);
  }

  clear(): void {
    for (const id of [...this.entries.keys()]) this.remove(id);
  }

  /** Takes over what other tabs, or this one before it was loaded again, have written. */
  reload(): void {
    const there = new Set<string>();
    for (const name of this.shelf.names()) {
      if (!name.startsWith(prefix)) continue;
      const entry = parse(this.shelf.get(name));
      if (!entry) {
        this.shelf.drop(name);
        continue;
      }
      there.add(entry.id);
      const known = this.entries.get(entry.id);
      if (!known) this.entries.set(entry.id, { ...entry, state: entry.failed ? "failed" : "waiting" });
      else if (known.state === "failed" && !entry.failed) Object.assign(known, { state: "waiting", failed: undefined });
    }
    for (const [id, entry] of this.entries) {
      if (there.has(id) || entry.state === "accepted") continue;
      // Another tab had it accepted, and the conversation will show it; or threw it away after it was refused.
      if (entry.state === "failed") this.entries.delete(id);
      else entry.state = "accepted";
    }
  }

  private mark(id: string, state: Waiting["state"]): void {
    const entry = this.entries.get(id);
    if (entry) entry.state = state;
  }

  private keep(entry: Entry): void {
    const { id, at, n, tab, kind, text, action, attachments, lang, failed } = entry;
    this.shelf.set(prefix + id, JSON.stringify({ id, at, n, tab, kind, text, action, attachments, lang, failed }));
  }
}

function parse(value: string | null): Entry | null {
  try {
    const e = JSON.parse(value ?? "") as Entry;
    const known = e.kind === "message" || e.kind === "human";
    return known && typeof e.id === "string" && typeof e.at === "number" ? e : null;
  } catch {
    return null;
  }
}

/** The frame that says an entry. */
export function frameOf(e: Entry): Outgoing {
  if (e.kind === "human") return { type: "human", id: e.id };
  if (e.action) return { type: "message", id: e.id, action: e.action, lang: e.lang };
  return { type: "message", id: e.id, text: e.text || undefined, attachments: e.attachments?.map((a) => a.id), lang: e.lang };
}
