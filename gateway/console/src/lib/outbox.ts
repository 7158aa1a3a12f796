import { conversationPath, isErased, Refused, Unreachable, type Api } from "./api.ts";
import type { Box } from "./box.ts";
import type { Env } from "./env.ts";
import type { Result } from "./wire.ts";

export type Mode = "reply" | "note";

/**
 * Something said here that is not yet known to be in the log. It is kept on the device from before it leaves until then, under
 * one idempotency key: whatever is repeated, it is said once.
 */
export interface Send {
  key: string;
  conversation: string;
  mode: Mode;
  text: string;
  at: number; // by the device's clock
  after: number; // the last event that was known when it was written
  hold: number; // seconds
  /**
   * waiting: for the network, or for the one before it. sending: a request is out. taken: the server has it as message.
   * refused: the server will not take it, and says why.
   */
  state: "waiting" | "sending" | "taken" | "refused";
  /** How often it was sent; 0: nobody but this device can know of it. */
  tries: number;
  message?: string;
  why?: string;
}

/** For how long a request may be repeated under its key: a day less than the server remembers it. */
const keyLife = 7 * 86_400_000;
const firstWait = 1000;
const longestWait = 15_000;

export class Outbox {
  onchange: (conversation: string) => void = () => {};
  onresult: (r: Result) => void = () => {};
  /** The server says that a conversation was erased. */
  onerased: (conversation: string) => void = () => {};
  /** Whether the line is there; without it nothing is tried. */
  live: () => boolean = () => true;

  private sends: Send[] = [];
  private readonly busy = new Set<string>();
  private readonly waits = new Map<string, { ms: number; cancel: () => void }>();
  private readonly env: Env;
  private readonly api: Api;
  private readonly box: Box;

  constructor(env: Env, api: Api, box: Box) {
    this.env = env;
    this.api = api;
    this.box = box;
    for (const name of box.names("send/")) {
      const s = box.get<Send>(name);
      if (!s?.key || !s.conversation) continue;
      // A request that was out when the page went may have arrived: it is asked for again under its key.
      if (s.state === "sending") s.state = "waiting";
      if (s.state === "waiting" && env.now() - s.at > keyLife) {
        s.state = "refused";
        s.why = "it has waited for more than a week";
      }
      this.sends.push(s);
    }
    this.sends.sort((a, b) => a.at - b.at);
  }

  of(conversation: string): readonly Send[] {
    return this.sends.filter((s) => s.conversation === conversation);
  }

  /** How many wait for the line. */
  get waiting(): number {
    return this.sends.filter((s) => s.state === "waiting").length;
  }

  conversations(): string[] {
    return [...new Set(this.sends.map((s) => s.conversation))];
  }

  add(conversation: string, mode: Mode, text: string, hold: number, after: number): Send {
    const send: Send = {
      key: this.env.unique(), conversation, mode, text, at: this.env.now(), after, hold: mode === "reply" ? hold : 0, state: "waiting", tries: 0,
    };
    // One after the other, also within a millisecond.
    const last = this.sends.at(-1);
    if (last && send.at <= last.at) send.at = last.at + 1;
    this.sends.push(send);
    this.keep(send);
    void this.pump(conversation);
    return send;
  }

  /** Takes something back that never left this device. Reports whether that was so. */
  recall(key: string): Send | undefined {
    const s = this.sends.find((s) => s.key === key);
    if (!s || (s.tries > 0 && s.state !== "refused")) return undefined;
    this.drop(s);
    return s;
  }

  /** Forgets what was to be said in a conversation. */
  forget(conversation: string): void {
    for (const s of this.of(conversation)) this.drop(s);
    this.waits.get(conversation)?.cancel();
    this.waits.delete(conversation);
  }

  /** A message or a note is in the log. */
  seen(conversation: string, ids: readonly string[]): void {
    for (const s of this.of(conversation)) if (s.message && ids.includes(s.message)) this.drop(s);
  }

  /** The line is back, or it may be worth another try: everything goes on, in its order. */
  pumpAll(): void {
    for (const w of this.waits.values()) w.cancel();
    this.waits.clear();
    for (const c of this.conversations()) void this.pump(c);
  }

  stop(): void {
    for (const w of this.waits.values()) w.cancel();
    this.waits.clear();
    this.live = () => false;
  }

  /** Sends what waits of a conversation, one after the other: the first that does not get through keeps the rest back. */
  private async pump(conversation: string): Promise<void> {
    if (this.busy.has(conversation)) return;
    this.busy.add(conversation);
    try {
      for (;;) {
        const next = this.of(conversation).find((s) => s.state === "waiting");
        if (!next || !this.live() || !(await this.post(next))) return;
      }
    } finally {
      this.busy.delete(conversation);
    }
  }

  private async post(s: Send): Promise<boolean> {
    s.state = "sending";
    s.tries++;
    this.keep(s);
    try {
      const path = `${conversationPath(s.conversation)}/${s.mode}`;
      const body = s.mode === "note" ? { text: s.text } : { text: s.text, ...(s.hold > 0 ? { hold: s.hold } : {}) };
      const r = await this.api.post<Result>(path, body, s.key);
      s.state = "taken";
      s.message = s.mode === "note" ? r.note : r.message;
      this.waits.delete(s.conversation);
      this.box.remove(`send/${s.key}`); // there is nothing to repeat any more; it shows until it is seen in the log
      if (!s.message) this.drop(s);
      this.onchange(s.conversation);
      this.onresult(r);
      return true;
    } catch (e) {
      if (isErased(e)) {
        this.onerased(s.conversation);
        return false;
      }
      if (e instanceof Refused && !e.passing && e.status !== 401) {
        s.state = "refused";
        s.why = e.message;
        this.keep(s);
        return true; // what comes after it may still be taken
      }
      s.state = "waiting";
      this.keep(s);
      if (e instanceof Refused || e instanceof Unreachable) this.later(s.conversation, e instanceof Refused ? e.retryAfter : 0);
      return false;
    }
  }

  private later(conversation: string, retryAfter: number): void {
    const before = this.waits.get(conversation);
    before?.cancel();
    const ms = Math.min(before ? before.ms * 2 : firstWait, longestWait);
    const cancel = this.env.after(Math.max(ms, retryAfter * 1000), () => void this.pump(conversation));
    this.waits.set(conversation, { ms, cancel });
  }

  private keep(s: Send): void {
    this.box.set(`send/${s.key}`, s);
    this.onchange(s.conversation);
  }

  private drop(s: Send): void {
    this.sends = this.sends.filter((o) => o !== s);
    this.box.remove(`send/${s.key}`);
    this.onchange(s.conversation);
  }
}
