// A world that tests move by hand: time, network and server are theirs.
import type { Answer, Env, Socket, Storage } from "../src/lib/env.ts";
import type { Context, Event, Frame, Me, Owner, Row } from "../src/lib/wire.ts";

export const me: Me = { tenant: "shop", id: "robin", name: "Robin Sample", role: "agent", queues: ["support"], capacity: 5 };

export class FakeStorage implements Storage {
  readonly kept = new Map<string, string>();
  full = false;
  get length(): number { return this.kept.size; }
  key(i: number): string | null { return [...this.kept.keys()][i] ?? null; }
  getItem(k: string): string | null { return this.kept.get(k) ?? null; }
  setItem(k: string, v: string): void {
    if (this.full) throw new Error("QuotaExceededError");
    this.kept.set(k, v);
  }
  removeItem(k: string): void { this.kept.delete(k); }
}

export class FakeSocket implements Socket {
  onopen: (() => void) | null = null;
  onmessage: ((e: { data: unknown }) => void) | null = null;
  onclose: ((e: { code: number }) => void) | null = null;
  sent: { type: string; conversation?: string; after?: number; cursor?: string; on?: boolean }[] = [];
  closed = false;
  send(data: string): void { this.sent.push(JSON.parse(data)); }
  close(): void { this.closed = true; }
}

interface Timer { at: number; run: () => void }

/** The server as the app sees it: it holds logs, and does each request under a key once. */
export class World implements Env {
  storage = new FakeStorage();
  time = Date.parse("2026-05-04T09:00:00Z");
  /** How far the server's clock is ahead of the device's. */
  ahead = 0;
  sockets: FakeSocket[] = [];
  requests: { method: string; path: string; body: unknown; key: string }[] = [];
  logs = new Map<string, Event[]>();
  owners = new Map<string, Owner>();
  lists: Record<string, Row[]> = { mine: [], queue: [], captured: [] };
  /** The network: cut answers nothing; lost does what is asked and loses the answer. */
  net: "up" | "cut" | "lost" = "up";
  /** Answers in the place of the server, once. */
  next: ((method: string, path: string) => Answer | undefined) | undefined;
  private timers: Timer[] = [];
  private done = new Map<string, unknown>();
  private n = 0;

  now = (): number => this.time;
  ticks = (): number => this.time - 1e12;
  unique = (): string => `key-${++this.n}`;

  after(ms: number, run: () => void): () => void {
    const t = { at: this.time + ms, run };
    this.timers.push(t);
    return () => void (this.timers = this.timers.filter((o) => o !== t));
  }

  /** Lets time pass; what is due happens in its order. */
  async pass(ms: number): Promise<void> {
    const end = this.time + ms;
    for (;;) {
      await this.settle();
      const due = this.timers.filter((t) => t.at <= end).sort((a, b) => a.at - b.at)[0];
      if (!due) break;
      this.timers = this.timers.filter((t) => t !== due);
      this.time = Math.max(this.time, due.at);
      due.run();
    }
    this.time = end;
    await this.settle();
  }

  async settle(): Promise<void> {
    for (let i = 0; i < 40; i++) await Promise.resolve();
  }

  socket(): Socket {
    const s = new FakeSocket();
    this.sockets.push(s);
    return s;
  }

  get wire(): FakeSocket { return this.sockets.at(-1)!; }

  /** The socket opens and the server says that it is ready. */
  async connect(): Promise<void> {
    this.wire.onopen?.();
    this.push({ type: "ready", cursor: "c1", me, now: this.server() });
    await this.settle();
  }

  push(f: Frame): void { this.wire.onmessage?.({ data: JSON.stringify(f) }); }

  server(): string { return new Date(this.time + this.ahead).toISOString(); }

  lose(code = 1006): void {
    const s = this.wire;
    s.onclose?.({ code });
  }

  /** Adds an event to a log, without telling anybody. */
  write(conversation: string, e: Partial<Event> & { type: string }): Event {
    const log = this.logs.get(conversation) ?? [];
    const event: Event = {
      seq: log.length + 1, at: this.server(), actor: { kind: "system" }, epoch: log.at(-1)?.epoch ?? { n: 1, op: "o1" }, ...e,
    };
    if (event.owner) {
      event.epoch = e.epoch ?? { n: event.epoch.n + 1, op: `o${event.epoch.n + 1}` };
      this.owners.set(conversation, event.owner.to);
    }
    this.logs.set(conversation, [...log, event]);
    return event;
  }

  /** Adds it and tells who follows. */
  happen(conversation: string, e: Partial<Event> & { type: string }): Event {
    const event = this.write(conversation, e);
    this.push({ type: "event", conversation, event });
    return event;
  }

  /** A conversation that waits in a queue, or is robin's. */
  conversation(id: string, mine: boolean): void {
    this.write(id, { type: "conversation.opened" });
    this.write(id, { type: "message.received", actor: { kind: "customer" }, message: { id: "m1", by: "customer", text: "I want a person" } });
    this.write(id, { type: "decision.made", decision: { kind: "handoff", phase: "inbound", rule: "want", message: 2, scores: { human_request: 0.99 } } });
    this.write(id, { type: "handoff.made", handoff: { rule: "want", reason: "They want a person.", queue: "support", priority: 5 } });
    this.write(id, { type: "owner.changed", owner: { from: { kind: "bot" }, to: { kind: "queued", queue: "support" }, reason: "handoff", position: 1 } });
    if (mine) {
      this.write(id, {
        type: "owner.changed", actor: { kind: "agent", id: "robin" },
        owner: { from: { kind: "queued", queue: "support" }, to: { kind: "agent", agent: "robin", name: "Robin Sample", queue: "support" }, reason: "claim" },
      });
    }
  }

  async request(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer> {
    const key = headers?.["Idempotency-Key"] ?? "";
    this.requests.push({ method, path, body, key });
    if (this.net === "cut") throw new TypeError("Failed to fetch");
    const special = this.next?.(method, path);
    if (special) {
      this.next = undefined;
      return special;
    }
    const answer = this.answer(method, path, (body ?? {}) as Record<string, string & number>, key);
    if (this.net === "lost") throw new TypeError("Failed to fetch");
    return { status: 200, retryAfter: 0, body: answer };
  }

  private answer(method: string, path: string, body: Record<string, string & number>, key: string): unknown {
    const [, id, act] = /conversations\/([^/?]+)\/?([a-z]*)/.exec(path) ?? [];
    if (path.startsWith("/v1/agent/queue")) return { items: this.lists[/view=(\w+)/.exec(path)?.[1] ?? "queue"] };
    if (path === "/v1/agent/colleagues") return { agents: [], queues: ["support"] };
    if (path === "/v1/agent/presence") return { on: true, capacity: 5, load: 0 };
    if (!id) return {};
    const log = this.logs.get(id) ?? [];
    if (method === "GET") {
      const before = Number(/before=(\d+)/.exec(path)?.[1] ?? 1e15), limit = Number(/limit=(\d+)/.exec(path)?.[1] ?? 500);
      const events = log.filter((e) => e.seq < before).slice(-limit);
      return {
        conversation: id, channel: "shop.web", owner: this.owners.get(id) ?? { kind: "bot" }, seq: log.length,
        epoch: log.at(-1)?.epoch ?? { n: 1, op: "o1" }, events, earlier: (events[0]?.seq ?? 1) > 1,
      } satisfies Context;
    }
    const known = key && this.done.get(key);
    if (known) return { ...(known as object), repeated: true };
    const result = { conversation: id, owner: { kind: "bot" } as Owner, epoch: 0, seq: 0, message: "", note: "" };
    const agent = { kind: "agent", id: "robin" };
    switch (act) {
      case "reply": {
        result.message = `m-${key}`;
        const message = { id: result.message, by: "agent" as const, name: "Robin Sample", text: body["text"] };
        if (body["hold"]) this.write(id, { type: "message.held", actor: agent, message: { ...message, held: true, until: new Date(this.time + this.ahead + body["hold"] * 1000).toISOString() } });
        else this.write(id, { type: "message.sent", actor: agent, vseq: log.length + 1, message });
        break;
      }
      case "note":
        result.note = `n-${key}`;
        this.write(id, { type: "note.added", actor: agent, note: { id: result.note, text: body["text"]! } });
        break;
      case "undo":
        this.write(id, { type: "message.status", actor: agent, status: { message: body["message"]!, status: "undone" } });
        break;
      case "claim":
        this.write(id, { type: "owner.changed", actor: agent, owner: { from: this.owners.get(id)!, to: { kind: "agent", agent: "robin", name: "Robin Sample" }, reason: "claim" } });
        break;
      case "release":
        this.write(id, { type: "owner.changed", actor: agent, owner: { from: this.owners.get(id)!, to: { kind: "bot" }, reason: "release" } });
        break;
    }
    const now = this.logs.get(id)!;
    Object.assign(result, { owner: this.owners.get(id), epoch: now.at(-1)!.epoch.n, seq: now.length });
    if (key) this.done.set(key, result);
    return result;
  }

  /** Tells who follows everything that they have not seen. */
  deliver(conversation: string, after: number): void {
    for (const event of this.logs.get(conversation) ?? []) if (event.seq > after) this.push({ type: "event", conversation, event });
  }

  posts(act: string): { body: unknown; key: string }[] {
    return this.requests.filter((r) => r.method === "POST" && r.path.endsWith(`/${act}`));
  }
}
