// A world for the engine: a clock that the test moves, a shelf, and a server with the manners of the real one. The links to
// it lose, repeat and break what the test wants.
import { Engine, type World } from "../src/engine.ts";
import type { Hooks, OpenLink, Target } from "../src/link.ts";
import type { Reply } from "../src/session.ts";
import type { Shelf } from "../src/shelf.ts";
import type { Incoming, Outgoing, Owner, Visible } from "../src/wire.ts";

type Frame = Outgoing | { type: "ping" };

/** Runs what promises have ready. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve();
}

export class Clock {
  time = Date.parse("2026-01-01T10:00:00Z");
  private timers: { at: number; n: number; act: () => void }[] = [];
  private n = 0;

  after(ms: number, act: () => void): () => void {
    const timer = { at: this.time + ms, n: this.n++, act };
    this.timers.push(timer);
    return () => void (this.timers = this.timers.filter((t) => t !== timer));
  }

  /** Lets ms pass; what is due happens in order. */
  async pass(ms: number): Promise<void> {
    const end = this.time + ms;
    await settle();
    for (;;) {
      const due = this.timers.filter((t) => t.at <= end).sort((a, b) => a.at - b.at || a.n - b.n)[0];
      if (!due) break;
      this.timers = this.timers.filter((t) => t !== due);
      this.time = Math.max(this.time, due.at);
      due.act();
      await settle();
    }
    this.time = end;
    await settle();
  }

  get waiting(): number {
    return this.timers.length;
  }
}

/**
 * One browser's storage; each tab has a shelf on it. A tab sees its own writes at once and the others' after lag
 * milliseconds, as browsers do it whose tabs are processes of their own; the last write of a name wins everywhere.
 */
export class Storage {
  /** Names that begin so are not kept: for controls. */
  loses: string | null = null;
  private tabs: { view: Map<string, Write>; changed: ((name: string | null, value: string | null) => void) | null }[] = [];
  private written = new Map<string, Write>();
  private n = 0;

  constructor(
    private readonly clock?: Clock,
    private readonly lag = 0,
  ) {}

  shelf(): Shelf {
    const own: (typeof this.tabs)[number] = { view: new Map(this.written), changed: null };
    const { view } = own;
    this.tabs.push(own);
    const write = (name: string, value: string | null) => {
      if (this.loses !== null && name.startsWith(this.loses)) return;
      const w = { value, n: this.n++ };
      view.set(name, w);
      this.written.set(name, w);
      for (const tab of this.tabs) {
        if (tab === own) continue;
        const arrive = () => {
          if ((tab.view.get(name)?.n ?? -1) < w.n) tab.view.set(name, w);
          tab.changed?.(name, value);
        };
        if (this.lag > 0) this.clock?.after(this.lag, arrive);
        else {
          tab.view.set(name, w);
          queueMicrotask(() => tab.changed?.(name, value));
        }
      }
    };
    return {
      get: (name) => view.get(name)?.value ?? null,
      set: write,
      drop: (name) => {
        if (view.get(name)?.value != null) write(name, null);
      },
      names: () => [...view].flatMap(([name, w]) => (w.value === null ? [] : [name])),
      watch: (changed) => {
        own.changed = changed;
        return () => void (own.changed = null);
      },
    };
  }

  /** What is written, as all will see it. */
  names(): string[] {
    return [...this.written].flatMap(([name, w]) => (w.value === null ? [] : [name]));
  }
}

interface Write {
  value: string | null;
  n: number;
}

interface Conversation {
  id: string;
  events: Visible[];
  owner: Owner;
  seen: Set<string>;
}

/** The channel: one visitor's conversations. What it took is in the log once, whatever was sent how often. */
export class Server {
  up = true;
  /** Called for each message that is new. */
  bot: ((e: Visible) => void) | null = null;
  conversations: Conversation[] = [];
  links: ServerLink[] = [];
  visitors = 0;
  posts: { path: string; body: Record<string, unknown> }[] = [];
  /** The answer to POST /messages, for tests that look at it. */
  outcome: Reply | null = null;
  /** Refuses a message with a code. */
  refuse: ((frame: Outgoing & { id: string }) => { code: string; retry_after?: number } | null) | null = null;
  /** Loses what goes to the client, after it took effect. */
  deaf = false;
  tokens = new Set<string>();
  /** Every message frame that arrived, new or not. */
  arrived: string[] = [];
  /** Whether a message that comes again is known; without it every repeat takes effect. */
  remembers = true;
  life = 30 * 24 * 3600 * 1000;
  /** How long an answer to a post is on its way, in milliseconds. */
  distance = 0;

  constructor(readonly clock: Clock) {}

  get open(): Conversation | undefined {
    return this.conversations.at(-1);
  }

  texts(): string[] {
    return this.conversations.flatMap((c) => c.events.flatMap((e) => (e.by === "customer" ? [e.part?.text ?? "(person)"] : [])));
  }

  append(e: Omit<Visible, "conversation" | "vseq" | "at">): Visible {
    let c = this.open;
    if (!c) this.conversations.push((c = { id: `c_${this.conversations.length + 1}`, events: [], owner: { kind: "bot" }, seen: new Set() }));
    const visible: Visible = { conversation: c.id, vseq: c.events.length + 1, at: new Date(this.clock.time).toISOString(), ...e };
    c.events.push(visible);
    if (e.owner) c.owner = e.owner;
    for (const link of [...this.links]) link.event(visible);
    return visible;
  }

  /** Begins another conversation with the next message. */
  next(): void {
    this.conversations.push({ id: `c_${this.conversations.length + 1}`, events: [], owner: { kind: "bot" }, seen: new Set() });
  }

  say(by: "bot" | "agent" | "system", text: string): void {
    this.append({ type: "message", by, part: { text } });
  }

  own(owner: Owner): void {
    this.append({ type: "owner", owner });
  }

  take(frame: Outgoing & { id: string }): boolean {
    this.arrived.push(frame.id);
    const all = this.conversations.some((c) => c.seen.has(frame.id));
    if (all && this.remembers) return false;
    const human = frame.type === "human";
    const e = this.append({ type: "message", by: "customer", client_id: frame.id, part: human ? {} : { text: frame.type === "message" ? (frame.text ?? frame.action?.label) : "" } });
    this.open?.seen.add(frame.id);
    if (human) this.own({ kind: "queued", position: 1 });
    else this.bot?.(e);
    return true;
  }

  post = async (path: string, body: object): Promise<Reply> => {
    if (!this.up) throw new TypeError("no network");
    const b = body as Record<string, unknown>;
    this.posts.push({ path, body: b });
    if (this.distance > 0) await new Promise<void>((done) => this.clock.after(this.distance, done));
    if (path === "/session") {
      const old = b["token"] as string | undefined;
      if (old && !this.tokens.has(old)) return { status: 401, body: { code: "unauthenticated" }, after: 0 };
      if (b["identity"] === "bad") return { status: 401, body: { code: "unauthenticated" }, after: 0 };
      const visitor = b["identity"] && b["identity"] !== "same" ? `v_${String(b["identity"])}` : old ? old.split(":")[0] : `v_${++this.visitors}`;
      const token = `${visitor}:${this.tokens.size}`;
      this.tokens.add(token);
      return { status: 200, body: { token, visitor, expires_at: new Date(this.clock.time + this.life).toISOString() }, after: 0 };
    }
    return this.outcome ?? { status: 202, body: {}, after: 0 };
  };

  /** Ends every link, as a restart does. */
  breakAll(): void {
    for (const link of [...this.links]) link.break();
  }

  openLink: OpenLink = (target, hooks) => {
    const link = new ServerLink(this, target, hooks);
    queueMicrotask(() => link.begin());
    return link;
  };
}

class ServerLink {
  over = false;
  sent: Frame[] = [];
  private live = false;

  constructor(
    private readonly server: Server,
    readonly target: Target,
    private readonly hooks: Hooks,
  ) {}

  begin(): void {
    if (this.over) return;
    if (!this.server.up) return this.break();
    if (!this.server.tokens.has(this.target.token)) {
      this.hooks.frame({ type: "error", code: "unauthenticated" });
      return this.break();
    }
    this.server.links.push(this);
    const all = this.server.conversations.flatMap((c) => c.events);
    const from = this.target.after ? all.findIndex((e) => `${e.conversation}.${e.vseq}` === this.target.after) : -1;
    if (this.target.after && from < 0) {
      this.hooks.frame({ type: "error", code: "not_found" });
      return this.break();
    }
    const open = this.server.open;
    // Without a cursor the newest conversation is what there is.
    const old = this.target.after ? all.slice(from + 1) : (open?.events ?? []);
    const last = open?.events.at(-1);
    this.frame({ type: "ready", conversation: open?.id, owner: open?.owner, end: last && `${last.conversation}.${last.vseq}` });
    this.live = true;
    for (const e of old) this.event(e);
  }

  frame(f: Incoming): void {
    if (!this.over && !this.server.deaf) this.hooks.frame(f);
  }

  event(e: Visible): void {
    if (this.live) this.frame({ type: "event", cursor: `${e.conversation}.${e.vseq}`, event: e });
  }

  send(frame: Frame): void {
    // Nothing of what the server does happens within the client's own call.
    queueMicrotask(() => !this.over && this.server.up && this.receive(frame));
  }

  private receive(frame: Frame): void {
    this.sent.push(frame);
    if (frame.type !== "message" && frame.type !== "human") return;
    const refusal = this.server.refuse?.(frame);
    if (refusal) return this.frame({ type: "error", id: frame.id, ...refusal });
    const fresh = this.server.take(frame);
    this.frame({ type: "accepted", id: frame.id, dup: !fresh });
  }

  break(reason: Parameters<Hooks["closed"]>[0] = {}): void {
    if (this.over) return;
    this.close();
    this.hooks.closed(reason);
  }

  close(): void {
    this.over = true;
    this.server.links = this.server.links.filter((l) => l !== this);
  }
}

export interface Tab {
  engine: Engine;
  world: World & { connected: boolean };
  fresh: Visible[];
}

let tabs = 0;

/** Opens a tab of a browser. links are the ways to the server; the server's own by default. */
export function tab(server: Server, storage: Storage, links: OpenLink[] = [server.openLink], shelf = storage.shelf()): Tab {
  let n = 0;
  const name = ++tabs;
  let chain: Promise<unknown> = locks.get(storage) ?? Promise.resolve();
  const world = {
    connected: true,
    now: () => server.clock.time,
    after: (ms: number, act: () => void) => server.clock.after(ms, act),
    random: () => 0.5,
    id: () => `id-${name}-${n++}`,
    online: () => world.connected,
    lock: <T>(_: string, act: () => Promise<T>): Promise<T> => {
      chain = (locks.get(storage) ?? Promise.resolve()).then(act, act);
      locks.set(storage, chain.catch(() => {}));
      return chain as Promise<T>;
    },
    post: server.post,
    shelf,
    links,
  };
  const fresh: Visible[] = [];
  const engine = new Engine(world, "https://chat.example/v1/web/acme.web", "en", (e) => e && fresh.push(e));
  return { engine, world, fresh };
}

const locks = new Map<Storage, Promise<unknown>>();

/** What a person would see, in order: the thread, then what is on its way with its state. */
export function sight(e: Engine): string[] {
  const said = e.thread.events.flatMap((v) => (v.type === "message" ? [`${v.by}: ${v.part?.text || "(person)"}`] : v.type === "owner" ? [`> ${v.owner?.kind}`] : [`> ${v.type}`]));
  return [...said, ...e.outbox.list().map((o) => `${o.state}: ${o.text ?? o.action?.label ?? "(person)"}`)];
}
