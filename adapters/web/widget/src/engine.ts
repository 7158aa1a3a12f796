import { backoff } from "./backoff.ts";
import type { Link, OpenLink } from "./link.ts";
import { frameOf, Outbox } from "./outbox.ts";
import { type Post, Refused, Sessions } from "./session.ts";
import type { Shelf } from "./shelf.ts";
import { Thread } from "./thread.ts";
import { type Attachment, type Choice, type Incoming, parseCursor, type Visible } from "./wire.ts";

/** The world as the engine needs it, so that tests can be one. */
export interface World {
  /** Milliseconds since 1970. */
  now(): number;
  /** Calls back once after ms, unless the returned function is called before. */
  after(ms: number, act: () => void): () => void;
  /** A number of [0, 1). */
  random(): number;
  /** An id that nobody else has. */
  id(): string;
  /** What the browser thinks of its network. */
  online(): boolean;
  lock<T>(name: string, act: () => Promise<T>): Promise<T>;
  post: Post;
  shelf: Shelf;
  /** The ways to the channel, the best first. */
  links: OpenLink[];
}

/** Why nothing goes or comes just now; empty: nothing is wrong. */
export type Trouble = "" | "connecting" | "offline" | "unreachable" | "busy" | "refused";

/** How long another tab is left alone with what it wants to send. */
const grace = 4000;
/** How long a link may take to be ready. */
const readyWithin = 15_000;
/** How long a message may be without an answer before its link counts as broken. */
const answerWithin = 15_000;
/** Sockets that fail this often without ever being ready make room for the other way. */
const patience = 2;
/** When to ask what became of a message that the bot has not answered, and how often again. */
const askAfter = 5000;
const typingLasts = 8000;
const typingEvery = 3000;

/**
 * The engine keeps one customer's side of the conversation: the thread of what is committed and the outbox of what is
 * not. It never shows as done what the server has not said is done. The rest of the widget looks at its fields and is told
 * by changed.
 */
export class Engine {
  readonly thread = new Thread();
  readonly outbox: Outbox;
  readonly sessions: Sessions;
  trouble: Trouble = "";
  /** Everything that was there when the link was made has come. */
  current = false;
  /** The place in the queue; 0: not known. */
  place = 0;
  /** Who on the other side is typing; null: nobody. */
  typing: { name: string } | null = null;
  /** The bot is at work on an answer. */
  thinking = false;
  /** The vseq up to which the other side has read. */
  read = 0;
  /** Messages of the other side that nobody has looked at, in any tab, also on an earlier page. */
  unread = 0;

  private link: Link | null = null;
  private ready = false;
  private running = false;
  private visitor = "";
  private asked = false; // a session is being asked for
  private opening = 0; // tells a late answer of a connection that is not wanted any more
  private fails = 0; // attempts since the last link that was ready
  private way = 0; // index of the link to use
  private end: string | null = null; // the cursor with which everything old has come
  private inflight = ""; // the id of what was sent last and has no answer
  private held = 0; // nothing is sent before this time
  private visible = false;
  private seen: string | null = null; // the cursor up to which somebody looked
  private typed = 0;
  private settled = ""; // a message that the server says leads to nothing more
  private timers = new Map<string, () => void>();
  private unwatch: () => void = () => {};

  constructor(
    private readonly world: World,
    private readonly url: string,
    private readonly lang: string,
    private readonly changed: (fresh: Visible | null) => void,
  ) {
    this.outbox = new Outbox(world.shelf, world.id(), () => world.now());
    this.sessions = new Sessions(world.shelf, (...a) => world.post(...a), () => world.now(), (n, a) => world.lock(n, a), lang);
  }

  /** Begins. Without anything to go on from it stays silent until something is to be sent. */
  start(): void {
    this.running = true;
    this.seen = this.world.shelf.get("seen");
    this.unwatch = this.world.shelf.watch((name, value) => this.shelfChanged(name, value));
    if (this.sessions.known()) this.connect();
    else {
      this.current = true;
      this.follow();
    }
    this.tell();
  }

  stop(): void {
    this.running = false;
    this.unwatch();
    this.disconnect();
    for (const cancel of this.timers.values()) cancel();
    this.timers.clear();
  }

  /** Says something. It is on the shelf when this returns. */
  say(what: { text?: string; action?: Choice; attachments?: Attachment[] }): void {
    this.outbox.add({ id: this.world.id(), kind: "message", lang: this.lang, ...what });
    this.typed = 0;
    this.push();
  }

  /** Asks for a person, once. */
  human(): void {
    if (this.asking) return;
    this.outbox.add({ id: this.world.id(), kind: "human" });
    this.push();
  }

  /** A request for a person is on its way. */
  get asking(): boolean {
    return this.outbox.list().some((e) => e.kind === "human" && e.state !== "failed");
  }

  retry(id: string): void {
    this.outbox.retry(id);
    this.push();
  }

  discard(id: string): void {
    this.outbox.remove(id);
    this.tell();
  }

  /** The customer is writing, or has stopped. Bots need not know. */
  writes(on: boolean): void {
    if (!this.ready || this.thread.owner.kind !== "agent") return;
    const now = this.world.now();
    if (on ? now - this.typed < typingEvery : this.typed === 0) return;
    this.typed = on ? now : 0;
    this.link?.send({ type: "typing", on });
  }

  /** Whether the customer has the end of the thread before their eyes. */
  look(visible: boolean): void {
    this.visible = visible;
    if (this.tellRead()) this.tell();
  }

  /** Tries at once, for when something hints that it may work again. */
  hurry(): void {
    if (!this.running || this.ready) return;
    if (this.timers.has("connect") || this.trouble === "offline") {
      this.fails = Math.min(this.fails, 1);
      this.connect();
    }
  }

  /** The browser lost its network: no need to wait for a timeout to say so. */
  lost(): void {
    if (!this.running || !(this.link || this.timers.has("connect"))) return;
    this.disconnect();
    this.trouble = "offline";
    this.tell();
    this.retryIn(backoff(this.fails++, this.world.random()));
  }

  /** Has the site vouch for the visitor. Rejects with Refused when the statement is not good. */
  async identify(statement: string): Promise<void> {
    const before = this.sessions.known()?.visitor;
    const session = await this.sessions.identify(statement);
    if (before && before !== session.visitor) {
      this.outbox.clear(); // somebody else wrote that
      this.blank();
    }
    if (this.running) this.connect();
  }

  /** Forgets the visitor on this device: for shared computers, and for when a site signs its user out. */
  reset(): void {
    this.disconnect();
    this.sessions.forget();
    this.outbox.clear();
    this.world.shelf.drop("seen");
    this.seen = null;
    this.blank();
    this.current = true;
    this.trouble = "";
    this.tell();
  }

  // Links

  private connect(): void {
    this.disconnect();
    const attempt = ++this.opening;
    if (this.trouble === "") this.trouble = "connecting";
    this.cancel("connect");
    this.asked = true;
    this.sessions.ensure().then(
      (session) => {
        if (attempt !== this.opening || !this.running) return;
        this.asked = false;
        this.visitor = session.visitor;
        const open = this.world.links[this.way % this.world.links.length];
        if (!open) return;
        const hooks = {
          frame: (frame: Incoming) => attempt === this.opening && this.frame(frame),
          closed: (reason: { after?: number; expired?: boolean; restart?: boolean }) => attempt === this.opening && this.closed(reason),
        };
        this.later("ready", readyWithin, () => this.closed({}));
        this.link = open({ url: this.url, token: session.token, after: this.thread.cursor }, hooks);
      },
      (err: unknown) => {
        if (attempt !== this.opening || !this.running) return;
        this.asked = false;
        this.fail(err instanceof Refused ? err.after : 0, err instanceof Refused ? "busy" : "unreachable");
      },
    );
    this.tell();
  }

  private disconnect(): void {
    this.opening++;
    this.link?.close();
    this.link = null;
    this.ready = this.asked = false;
    this.inflight = "";
    this.typing = null;
    this.cancel("ready");
    this.cancel("answer");
    this.cancel("settle");
    this.outbox.broken();
  }

  private closed(reason: { after?: number; expired?: boolean; restart?: boolean }): void {
    const wasReady = this.ready;
    this.disconnect();
    if (reason.expired) {
      // Nothing can be read with it any more, also not by the other tabs. What was not sent goes out as the new visitor's.
      this.sessions.forget();
      this.blank();
    }
    if (!wasReady && !reason.expired && this.fails + 1 >= patience) this.way++;
    this.fail(reason.after ?? 0, reason.after ? "busy" : wasReady && (reason.restart || reason.expired) ? "connecting" : "unreachable");
  }

  private fail(least: number, why: Trouble): void {
    const wait = backoff(this.fails++, this.world.random(), least);
    // One break that mends itself at once is no news.
    if (!this.world.online()) this.trouble = "offline";
    else this.trouble = this.fails > 1 || why === "busy" ? (why === "connecting" ? "unreachable" : why) : "connecting";
    this.retryIn(wait);
    this.tell();
  }

  private retryIn(ms: number): void {
    this.later("connect", ms, () => this.connect());
  }

  private frame(f: Incoming): void {
    switch (f.type) {
      case "ready":
        this.cancel("ready");
        this.ready = true;
        this.fails = 0;
        this.trouble = "";
        this.end = f.end ?? null;
        this.place = f.owner?.position ?? this.place;
        this.caughtUp();
        this.flush();
        break;
      case "event":
        this.event(f.event);
        return;
      case "accepted":
        this.answered(f.id);
        this.outbox.accepted(f.id);
        this.trouble = "";
        this.held = 0;
        this.flush();
        break;
      case "error":
        this.refused(f);
        break;
      case "typing":
        this.typing = f.on && f.by === "agent" ? { name: f.name ?? "" } : null;
        if (this.typing) this.later("typing", typingLasts, () => ((this.typing = null), this.tell()));
        break;
      case "position":
        this.place = f.position;
        break;
      case "read":
        this.read = Math.max(this.read, parseCursor(f.cursor)?.vseq ?? 0);
        break;
      case "pong":
        return;
    }
    this.tell();
  }

  private event(e: Visible): void {
    const before = this.thread.conversation;
    switch (this.thread.take(e)) {
      case "known":
        return;
      case "gap":
        // Links deliver in order; if one does not, the next begins where this one was right.
        this.closed({});
        return;
    }
    if (before !== e.conversation) this.read = 0;
    if (e.client_id) {
      this.outbox.remove(e.client_id);
      this.answered(e.client_id);
    }
    if (e.type === "owner") this.place = e.owner?.position ?? 0;
    if (e.by === "bot" || e.by === "agent" || e.by === "system") {
      this.typing = null;
    }
    this.caughtUp();
    this.tellRead();
    this.flush();
    this.tell(e);
  }

  private caughtUp(): void {
    if (this.current || !this.ready) return;
    const end = this.end ? parseCursor(this.end) : null;
    if (!end || (end.conversation === this.thread.conversation && this.thread.vseq >= end.vseq)) this.current = true;
  }

  private refused(f: { id?: string; code: string; retry_after?: number }): void {
    if (!f.id) {
      // The cursor is of another visitor, or of a store that is gone: begin again.
      if (f.code === "not_found") this.blank();
      if (f.code === "unauthenticated") {
        this.sessions.forget();
        this.blank();
      }
      return; // the link closes now
    }
    this.answered(f.id);
    if (passing(f.code)) {
      const wait = (f.retry_after || 2) * 1000;
      this.held = this.world.now() + wait;
      this.outbox.broken();
      this.later("flush", wait, () => this.flush());
      this.trouble = f.code === "rate_limited" ? "busy" : "unreachable";
      return;
    }
    this.outbox.refused(f.id, f.code);
    this.flush();
  }

  // Sending

  private push(): void {
    if (!this.running) return;
    if (!this.link && !this.asked) this.connect();
    this.flush();
    this.tell();
  }

  /** Sends what comes next, one at a time: the next one goes when this one has its answer, so order holds. */
  private flush(): void {
    if (!this.ready || this.inflight || this.world.now() < this.held) return;
    const entry = this.outbox.next(grace);
    if (!entry) {
      const foreign = this.outbox.next(0);
      if (foreign) this.later("flush", foreign.at + grace - this.world.now(), () => this.flush());
      return;
    }
    this.inflight = entry.id;
    this.outbox.sending(entry.id);
    this.link?.send(frameOf(entry));
    this.later("answer", answerWithin, () => this.closed({}));
  }

  private answered(id: string): void {
    if (id !== this.inflight) return;
    this.inflight = "";
    this.cancel("answer");
  }

  /** Notes how far somebody has looked, and tells the other side. True if that is news. */
  private tellRead(): boolean {
    const cursor = this.thread.cursor;
    if (!this.visible || !this.current || !cursor || cursor === this.seen) return false;
    this.seen = cursor;
    this.world.shelf.set("seen", cursor);
    const last = this.thread.events.at(-1);
    if (this.ready && last?.by !== "customer") this.link?.send({ type: "read", cursor });
    return true;
  }

  private countUnread(): number {
    if (!this.current) return 0;
    const seen = parseCursor(this.seen ?? "");
    let n = 0;
    for (let i = this.thread.events.length - 1; i >= 0; i--) {
      const e = this.thread.events[i] as Visible;
      if (seen && e.conversation === seen.conversation && e.vseq <= seen.vseq) break;
      if (e.by === "bot" || e.by === "agent" || e.by === "system") n++;
    }
    return n;
  }

  // The bot at work

  /** A bot may answer nothing at all. Nothing would tell then, so after a while the widget asks. */
  private settle(): void {
    const open = this.thread.unanswered;
    if (!open?.client_id || open.client_id === this.settled || !this.current || !this.ready) {
      this.cancel("settle");
      return;
    }
    if (this.timers.has("settle")) return;
    this.later("settle", askAfter, () => void this.ask(open));
  }

  private async ask(open: Visible): Promise<void> {
    const token = this.sessions.known()?.token;
    const attachments = open.part?.attachments?.map((a) => a.id);
    const attempt = this.opening;
    try {
      // The same id again joins the wait for the message's outcome; nothing is said twice.
      const reply = await this.world.post("/messages", { id: open.client_id, text: open.part?.text, attachments }, token);
      if (reply.status === 200 && this.thread.unanswered === open) this.settled = open.client_id ?? "";
    } catch {
      // The link will notice.
    }
    if (attempt === this.opening) this.tell();
  }

  // Tabs

  private shelfChanged(name: string | null, value: string | null): void {
    if (!this.running) return;
    if (name === null || name.startsWith("out.")) {
      this.outbox.reload();
      // What another tab says may be in the log, and here, before what it noted of it comes.
      for (const e of this.outbox.list()) if (this.thread.holds(e.id)) this.outbox.remove(e.id);
      this.follow();
    }
    if (name === "seen") this.seen = value;
    if (name === null || name === "session") {
      const visitor = this.sessions.known()?.visitor;
      if (!value || !visitor) {
        this.disconnect();
        this.blank();
        this.current = true;
        this.trouble = "";
      } else if (visitor !== this.visitor) {
        // Another tab began, or signed somebody else in.
        if (this.visitor) this.blank();
        this.connect();
      }
    }
    this.tell();
  }

  /**
   * Goes along with what other tabs want to send. Before there is a session it is theirs to get one: two that ask at once
   * are two visitors until they hear of each other.
   */
  private follow(): void {
    const next = this.outbox.next(0);
    if (!next) return;
    if (this.sessions.known() || this.outbox.next(grace)) this.push();
    else this.later("flush", next.at + grace - this.world.now(), () => this.push());
  }

  private blank(): void {
    Object.assign(this.thread, new Thread());
    this.outbox.leave();
    this.end = null;
    this.current = false;
    this.place = this.read = 0;
    this.changed(null);
  }

  // Plumbing

  private later(name: string, ms: number, act: () => void): void {
    this.cancel(name);
    const cancel = this.world.after(Math.max(0, ms), () => {
      this.timers.delete(name);
      if (this.running) act();
    });
    this.timers.set(name, cancel);
  }

  private cancel(name: string): void {
    this.timers.get(name)?.();
    this.timers.delete(name);
  }

  private tell(fresh: Visible | null = null): void {
    this.settle();
    const open = this.thread.unanswered;
    this.thinking = !!open && open.client_id !== this.settled;
    this.unread = this.countUnread();
    this.changed(fresh);
  }
}

/** Whether a refusal is for now only: the same message is sent again. */
function passing(code: string): boolean {
  return code === "rate_limited" || code === "store_unavailable" || code === "unknown_outcome" || code === "internal";
}
