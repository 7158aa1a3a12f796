import { Api, conversationPath, isErased, Refused, Unreachable } from "./api.ts";
import { Box } from "./box.ts";
import { Conversation } from "./conversation.ts";
import { Drafts } from "./drafts.ts";
import { Source, type Env } from "./env.ts";
import { Link } from "./link.ts";
import { Outbox, type Mode } from "./outbox.ts";
import type { Colleagues, Frame, Me, Presence, Result, Row } from "./wire.ts";

const heartbeatEvery = 20_000;
const typingLasts = 6_000;
const typingEvery = 3_000;
const listsRest = 300; // between two readings of the lists
const listLimit = 200;
export const mostPanes = 5;
const firstPanes = 3;

export interface Settings {
  /** Seconds that a reply can be undone. */
  hold: number;
  /** Whether single letters are keys. */
  keys: boolean;
  theme: "system" | "light" | "dark";
  context: boolean;
}

const defaults: Settings = { hold: 5, keys: true, theme: "system", context: true };

/** What one agent has in front of them. It holds what the server said; what it asks for shows when the server has done it. */
export class Desk extends Source {
  readonly env: Env;
  readonly api: Api;
  readonly link: Link;
  readonly me: Me;
  readonly box: Box;
  readonly drafts: Drafts;
  readonly outbox: Outbox;
  presence: Presence;
  settings: Settings;
  mine: Row[] = [];
  waiting: Row[] = [];
  captured: Row[] = [];
  /** The views of which there is more than these rows. */
  more = new Set<"mine" | "waiting" | "captured">();
  /** Whether the lists were read at all, and what hindered the last reading. */
  listed = false;
  listError: Error | undefined;
  panes: string[];
  focus = 0;
  /** Something to say to who uses a screen reader. */
  said = "";
  /** A word that concerns no single conversation. */
  toast = "";
  /** The sign-in has ended. */
  onsignedout: () => void = () => {};
  readonly names = new Map<string, string>();

  private readonly conversations = new Map<string, Conversation>();
  private readonly following = new Set<string>();
  private wantOn: boolean;
  private heartbeat: (() => void) | undefined;
  private listing = false;
  private listAgain = false;
  private lastTyping = new Map<string, number>();
  private known = new Set<string>();
  private ended = false;
  private endToast: (() => void) | undefined;

  constructor(env: Env, me: Me, presence: Presence | undefined) {
    super();
    this.env = env;
    this.me = me;
    this.api = new Api(env);
    this.link = new Link(env);
    this.box = new Box(env.storage, me.tenant, me.id);
    this.drafts = new Drafts(env, this.box);
    this.outbox = new Outbox(env, this.api, this.box);
    this.presence = presence ?? { on: false, capacity: me.capacity, load: 0 };
    this.settings = { ...defaults, ...this.box.get<Partial<Settings>>("settings") };
    this.panes = (this.box.get<string[]>("panes") ?? []).filter((p) => typeof p === "string").slice(0, mostPanes);
    this.wantOn = this.box.get<boolean>("on") ?? true;
    this.names.set(me.id, me.name);
    this.wire();
  }

  start(): void {
    this.link.start();
    this.refreshLists();
    for (const id of this.panes) this.open(id, false);
    void this.readColleagues().catch(() => {});
  }

  /** Ends everything: the agent signed out, or the sign-in has ended. Drafts and sends stay on the device. */
  stop(): void {
    if (this.ended) return;
    this.ended = true;
    this.drafts.flush();
    this.outbox.stop();
    this.heartbeat?.();
    this.endToast?.();
    this.link.stop();
  }

  private wire(): void {
    this.api.onSignedOut = () => this.signedOut();
    this.link.onexpired = () => this.signedOut();
    this.link.onstate = () => this.changed();
    this.link.onready = () => {
      for (const id of this.following) this.follow(id);
      this.beat();
      this.outbox.pumpAll();
      this.refreshLists();
      for (const c of this.conversations.values()) if (c.state === "failed" && !c.gone) void c.load();
    };
    this.link.onframe = (f) => this.frame(f);
    this.outbox.live = () => !this.ended && this.link.state === "live";
    this.outbox.onchange = (id) => {
      this.conversations.get(id)?.changed();
      this.changed();
    };
    this.outbox.onerased = (id) => this.erased(id);
    this.outbox.onresult = (r) => {
      const c = this.conversations.get(r.conversation);
      c?.result(r);
      // The log may have been quicker than the answer.
      const id = r.message ?? r.note ?? "";
      if (c?.events.some((e) => e.message?.id === id || e.note?.id === id)) this.outbox.seen(c.id, [id]);
    };
  }

  private signedOut(): void {
    if (this.ended) return;
    this.stop();
    this.onsignedout();
  }

  /** Another page of this agent changed what is kept on the device. */
  heard(key: string | null): void {
    const name = this.box.nameOf(key);
    if (name) this.drafts.heard(name);
  }

  // --- what the server sends

  private frame(f: Frame): void {
    const c = f.conversation ? this.conversations.get(f.conversation) : undefined;
    switch (f.type) {
      case "ready":
      case "resync":
        this.refreshLists();
        return;
      case "queue":
        this.refreshLists();
        return;
      case "event":
        if (c && f.event) this.event(c, f);
        return;
      case "typing":
        if (c) {
          c.typingUntil = f.on ? this.env.ticks() + typingLasts : 0;
          c.changed();
          if (f.on) this.env.after(typingLasts + 50, () => c.changed());
        }
        return;
      case "read":
        if (c && f.vseq) {
          c.readUpTo = Math.max(c.readUpTo, f.vseq);
          c.changed();
        }
        return;
      case "unfollowed":
        if (f.conversation && f.code === "erased") this.erased(f.conversation);
        else if (c) {
          c.gone = true;
          c.notice ??= { tone: "warn", text: "This conversation has left your queues. You can read what is here." };
          c.changed();
        }
        return;
      case "presence":
        if (f.presence) {
          this.presence = f.presence;
          this.changed();
        }
        return;
    }
  }

  private event(c: Conversation, f: Frame): void {
    const e = f.event!;
    if (e.type === "conversation.erased") return this.erased(c.id);
    const before = c.owner;
    if (!c.append(e)) {
      this.follow(c.id); // a gap: have it sent from where we are
      return;
    }
    if (e.owner?.to.agent && e.owner.to.name) this.names.set(e.owner.to.agent, e.owner.to.name);
    if (e.message?.id || e.note?.id) this.outbox.seen(c.id, [e.message?.id ?? "", e.note?.id ?? ""]);
    if (e.status?.status === "undone") this.outbox.seen(c.id, [e.status.message]);
    if (e.owner || e.handoff || e.profile || e.account || e.contact || e.timer || e.decision?.tags?.length) void c.refresh();
    if (e.owner && before.agent === this.me.id && e.owner.to.agent !== this.me.id && e.actor.id !== this.me.id) this.lost(c, e.owner.to.name);
  }

  /** Somebody else has it now: what was being written to the customer stays, and says so. */
  private lost(c: Conversation, name: string | undefined): void {
    const draft = this.drafts.get(c.id, "reply");
    const who = name ? `${name} has this conversation now.` : "This conversation is not yours any more.";
    c.notice = { tone: "bad", text: draft ? `${who} Your draft is kept here; it has not been sent.` : who };
    c.changed();
    this.say(c.notice.text);
  }

  /** A conversation was erased: nothing of it stays on this page or on the device, what was being written included. */
  private erased(id: string): void {
    const c = this.conversations.get(id);
    if (c?.state === "erased") return;
    this.drafts.set(id, "reply", "");
    this.drafts.set(id, "note", "");
    this.drafts.flush();
    this.outbox.forget(id);
    this.box.remove(`seen/${id}`);
    this.following.delete(id);
    this.mine = this.mine.filter((r) => r.conversation !== id);
    this.waiting = this.waiting.filter((r) => r.conversation !== id);
    this.captured = this.captured.filter((r) => r.conversation !== id);
    this.presence = { ...this.presence, load: this.mine.length };
    c?.erase();
    if (c) this.say("This conversation was erased.");
    this.refreshLists();
    this.changed();
  }

  // --- lists

  refreshLists(): void {
    if (this.ended) return;
    if (this.listing) {
      this.listAgain = true;
      return;
    }
    this.listing = true;
    void this.readLists().finally(() => {
      this.env.after(listsRest, () => {
        this.listing = false;
        if (!this.listAgain) return;
        this.listAgain = false;
        this.refreshLists();
      });
    });
  }

  private async readLists(): Promise<void> {
    const view = (v: string) => this.api.get<{ items: Row[] | null; cursor?: string }>(`/v1/agent/queue?view=${v}&limit=${listLimit}`);
    try {
      const [mine, waiting, captured] = await Promise.all([view("mine"), view("queue"), view("captured")]);
      this.mine = mine.items ?? [];
      this.waiting = waiting.items ?? [];
      this.captured = captured.items ?? [];
      this.more = new Set();
      if (mine.cursor) this.more.add("mine");
      if (waiting.cursor) this.more.add("waiting");
      if (captured.cursor) this.more.add("captured");
      for (const r of this.mine) {
        const c = this.conversations.get(r.conversation);
        // What is in front of the agent has been read.
        if (c && this.visible(r.conversation)) this.markRead(r.conversation);
      }
      if (this.listed) this.announce();
      if (!this.listed && this.box.get("panes") === undefined) {
        // A device that knows no panes yet begins with what the agent has.
        for (const r of this.mine.filter((r) => !r.snoozed_until).slice(0, firstPanes)) this.open(r.conversation, false);
      }
      this.known = new Set(this.waiting.map((r) => r.conversation));
      this.presence = { ...this.presence, load: this.mine.length };
      this.listed = true;
      this.listError = undefined;
    } catch (e) {
      this.listError = e as Error;
    }
    this.changed();
  }

  private announce(): void {
    const fresh = this.waiting.filter((r) => !this.known.has(r.conversation));
    const first = fresh[0];
    if (!first) return;
    this.say(fresh.length === 1 ? `${nameOfRow(first)} waits in ${first.owner.queue ?? "your queue"}` : `${fresh.length} more wait in your queues`);
  }

  row(id: string): Row | undefined {
    for (const list of [this.mine, this.waiting, this.captured]) {
      const r = list.find((r) => r.conversation === id);
      if (r) return r;
    }
    return this.conversations.get(id)?.context;
  }

  nameOf(id: string): string {
    if (this.conversations.get(id)?.state === "erased") return "Erased";
    const r = this.row(id);
    return r ? nameOfRow(r) : "Customer";
  }

  /** Whether the customer wrote something that was not looked at. */
  unread(r: Row): boolean {
    return r.last?.by === "customer" && r.last.seq > (this.box.get<number>(`seen/${r.conversation}`) ?? 0);
  }

  visible: (id: string) => boolean = () => false;

  markRead(id: string): void {
    const c = this.conversations.get(id);
    const seq = Math.max(c?.last ?? 0, this.row(id)?.last?.seq ?? 0);
    if (seq <= (this.box.get<number>(`seen/${id}`) ?? 0)) return;
    this.box.set(`seen/${id}`, seq);
    this.changed();
  }

  // --- conversations and panes

  conversation(id: string): Conversation {
    let c = this.conversations.get(id);
    if (!c) {
      const made = new Conversation(id, this.api);
      made.onerased = () => this.erased(id);
      made.onloaded = () => {
        this.following.add(id);
        this.follow(id);
        for (const e of made.events) {
          if (e.owner?.to.agent && e.owner.to.name) this.names.set(e.owner.to.agent, e.owner.to.name);
        }
        this.outbox.seen(id, made.events.flatMap((e) => [e.message?.id ?? "", e.note?.id ?? ""]).filter(Boolean));
      };
      this.conversations.set(id, made);
      c = made;
      void c.load();
    }
    return c;
  }

  private follow(id: string): void {
    this.link.send({ type: "follow", conversation: id, after: this.conversations.get(id)?.last ?? 0 });
  }

  /** Shows a conversation: in its pane if it has one, in a free one, or in that of the focus. */
  open(id: string, focus = true, room = mostPanes): void {
    this.conversation(id);
    let at = this.panes.indexOf(id);
    if (at < 0) {
      if (this.panes.length < room) at = this.panes.push(id) - 1;
      else {
        at = Math.min(this.focus, this.panes.length - 1);
        const old = this.panes[at];
        this.panes[at] = id;
        if (old) this.leave(old);
      }
      this.box.set("panes", this.panes);
    }
    if (focus) this.focus = at;
    this.changed();
  }

  close(id: string): void {
    const at = this.panes.indexOf(id);
    if (at < 0) return;
    this.panes.splice(at, 1);
    if (this.focus > at || this.focus >= this.panes.length) this.focus = Math.max(0, this.focus - 1);
    this.box.set("panes", this.panes);
    this.leave(id);
    this.changed();
  }

  private leave(id: string): void {
    this.following.delete(id);
    this.conversations.delete(id);
    this.link.send({ type: "unfollow", conversation: id });
  }

  setFocus(i: number): void {
    if (i < 0 || i >= this.panes.length || i === this.focus) return;
    this.focus = i;
    this.changed();
  }

  /** Moves the pane in focus; by is -1 or 1. */
  movePane(by: number): void {
    const to = this.focus + by;
    if (to < 0 || to >= this.panes.length) return;
    [this.panes[this.focus], this.panes[to]] = [this.panes[to]!, this.panes[this.focus]!];
    this.focus = to;
    this.box.set("panes", this.panes);
    this.changed();
  }

  get focused(): Conversation | undefined {
    const id = this.panes[this.focus];
    return id ? this.conversations.get(id) : undefined;
  }

  // --- presence

  /** Whether the agent wants to be there; whether the server knows is presence. */
  get wantsOn(): boolean {
    return this.wantOn;
  }

  setPresence(on: boolean): void {
    this.wantOn = on;
    this.box.set("on", on);
    this.beat();
    this.changed();
  }

  private beat(): void {
    this.heartbeat?.();
    this.heartbeat = this.env.after(heartbeatEvery, () => this.beat());
    this.link.send({ type: "presence", on: this.wantOn });
  }

  typing(id: string): void {
    const now = this.env.ticks();
    if (now - (this.lastTyping.get(id) ?? -Infinity) < typingEvery) return;
    this.lastTyping.set(id, now);
    this.link.send({ type: "typing", conversation: id });
  }

  // --- what the agent does

  holds(c: Conversation): boolean {
    return c.owner.kind === "agent" && c.owner.agent === this.me.id;
  }

  get supervisor(): boolean {
    return this.me.role === "supervisor";
  }

  /** Whether the agent may make the conversation theirs as it is now; what could not be read is nobody's to take. */
  mayClaim(c: Conversation): boolean {
    if (c.gone || c.state !== "ready" || this.holds(c)) return false;
    switch (c.owner.kind) {
      case "queued":
      case "captured": return true;
      case "bot":
      case "agent": return this.supervisor;
      case "closed": return false;
    }
  }

  send(id: string, mode: Mode): boolean {
    const text = this.drafts.get(id, mode).trim();
    if (!text) return false;
    const c = this.conversation(id);
    if (mode === "reply" && !this.holds(c)) return false;
    this.outbox.add(id, mode, text, this.settings.hold, c.last);
    this.drafts.set(id, mode, "");
    this.drafts.flush();
    return true;
  }

  /** The reply of this agent that can still be taken back: one that is held, or one that has not left this device. */
  undoable(c: Conversation): { key: string; text: string; until: number } | undefined {
    const waiting = this.outbox.of(c.id).filter((s) => s.mode === "reply" && s.tries === 0).at(-1);
    if (waiting) return { key: waiting.key, text: waiting.text, until: 0 };
    const over = new Set<string>();
    for (let i = c.events.length - 1; i >= 0 && i >= c.events.length - 64; i--) {
      const e = c.events[i]!;
      if (e.status) over.add(e.status.message);
      if (e.type === "message.sent" && e.message) over.add(e.message.id);
      if (e.type === "message.held" && e.message?.by === "agent" && e.actor.id === this.me.id && !over.has(e.message.id)) {
        return { key: e.message.id, text: e.message.text ?? "", until: e.message.until ? Date.parse(e.message.until) : 0 };
      }
    }
    return undefined;
  }

  /** Takes the last held reply back into its draft. */
  async undo(c: Conversation): Promise<boolean> {
    const held = this.undoable(c);
    if (!held) return false;
    if (!this.outbox.recall(held.key)) {
      const done = await this.act(c, "undo", { message: held.key });
      if (!done) return false;
    }
    const draft = this.drafts.get(c.id, "reply");
    this.drafts.set(c.id, "reply", draft ? `${held.text}\n${draft}` : held.text);
    this.say("Taken back. It was not sent.");
    return true;
  }

  /** Gives up a reply that the server refused; its text goes back into the draft. */
  takeBack(c: Conversation, key: string): void {
    const s = this.outbox.recall(key);
    if (!s) return;
    const draft = this.drafts.get(c.id, s.mode);
    this.drafts.set(c.id, s.mode, draft ? `${s.text}\n${draft}` : s.text);
  }

  async claim(c: Conversation): Promise<boolean> {
    if (!this.presence.on) {
      // The server gives conversations only to who is there.
      this.wantOn = true;
      this.box.set("on", true);
      try {
        this.presence = await this.api.post<Presence>("/v1/agent/presence", { on: true });
      } catch {
        // the claim says what is wrong
      }
    }
    return this.act(c, "claim", this.supervisor && (c.owner.kind === "agent") ? { override: true } : {});
  }

  /**
   * Does something that changes the conversation. It is busy until the server has done it; without an answer it is asked
   * again under the same key once the line is back, so that it is done once or not at all.
   */
  async act(c: Conversation, name: string, body: object = {}): Promise<boolean> {
    if (c.busy) return false;
    c.busy = name;
    c.notice = undefined;
    c.changed();
    const key = this.env.unique();
    try {
      for (let tries = 1; ; tries++) {
        try {
          c.result(await this.api.post<Result>(`${conversationPath(c.id)}/${name}`, body, key));
          this.refreshLists();
          return true;
        } catch (e) {
          const again = e instanceof Unreachable || (e instanceof Refused && e.status === 503);
          if (!again || tries > 20 || this.ended) throw e;
          c.notice = { tone: "warn", text: "Not confirmed yet: no answer from the server. It is asked again until there is one." };
          c.changed();
          await this.pause(Math.min(500 * tries, 5000));
        }
      }
    } catch (e) {
      c.notice = undefined;
      this.refusal(c, name, e as Error);
      return false;
    } finally {
      c.busy = "";
      if (c.notice?.text.startsWith("Not confirmed yet")) c.notice = undefined;
      c.changed();
      this.changed();
    }
  }

  private refusal(c: Conversation, name: string, e: Error): void {
    if (isErased(e)) return this.erased(c.id);
    let text = e.message;
    if (e instanceof Refused) {
      switch (e.code) {
        case "already_claimed": text = `${e.winner || "Somebody else"} was quicker and has it now.`; break;
        case "no_capacity": text = "All your places are taken. Resolve, release or pass on a conversation first."; break;
        case "return_limit": text = "It went back to the bot twice already and stays with people. A supervisor may override this."; break;
        case "stale": text = name === "undo" ? "It has left already." : e.message; break;
      }
      if (e.code === "no_capacity" && name === "transfer") text = "They are not online or have no free place.";
    }
    c.notice = { tone: "bad", text };
    this.say(text);
    void c.refresh();
    this.refreshLists();
  }

  private pause(ms: number): Promise<void> {
    return new Promise((done) => void this.env.after(ms, done));
  }

  async readColleagues(): Promise<Colleagues> {
    const c = await this.api.get<Colleagues>("/v1/agent/colleagues");
    for (const a of c.agents) this.names.set(a.id, a.name);
    this.changed();
    return c;
  }

  personName = (id: string): string => this.names.get(id) ?? id;

  setSettings(s: Partial<Settings>): void {
    this.settings = { ...this.settings, ...s };
    this.box.set("settings", this.settings);
    this.changed();
  }

  say(text: string): void {
    // The same words twice would not be read again.
    this.said = this.said === text ? text + "\u00a0" : text;
    this.changed();
  }

  show(text: string): void {
    this.toast = text;
    this.endToast?.();
    this.endToast = this.env.after(6000, () => {
      this.toast = "";
      this.changed();
    });
    this.say(text);
  }
}

export function nameOfRow(r: Row): string {
  return r.customer || "Visitor " + visitorMark(r.conversation);
}

/** Four letters by which visitors without a name are told apart. */
export function visitorMark(conversation: string): string {
  return conversation.slice(-4).toUpperCase();
}
