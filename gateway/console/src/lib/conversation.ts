import { conversationPath, isErased, Refused, type Api } from "./api.ts";
import { Source } from "./env.ts";
import type { Context, Epoch, Event, Owner, Page, Result } from "./wire.ts";

const firstPage = 120;
const pageSize = 200;
const theEnd = Number.MAX_SAFE_INTEGER;

export interface Notice {
  tone: "plain" | "warn" | "bad";
  text: string;
  /** A draft that could not be said any more, to take up again. */
  keep?: string;
}

/**
 * One open conversation: a stretch of its log that reaches to its end, and what is known beside. Who owns it is what the
 * server said last, by the place in the log of what said it.
 */
export class Conversation extends Source {
  readonly id: string;
  /** erased: all that was said is destroyed, and nothing of it is here any more. */
  state: "loading" | "ready" | "failed" | "erased" = "loading";
  error: Error | undefined;
  context: Context | undefined;
  events: Event[] = [];
  earlier = false;
  loadingEarlier = false;
  owner: Owner = { kind: "bot" };
  epoch: Epoch = { n: 0, op: "" };
  /** The act that is on its way, "" for none: nothing of it is shown as done before the server says so. */
  busy = "";
  notice: Notice | undefined;
  /** Until when, by ticks, the customer is shown as typing. */
  typingUntil = 0;
  readUpTo = 0;
  /** It is not for this agent any more. */
  gone = false;
  /** Follows on from the loaded page; set by the desk. */
  onloaded: () => void = () => {};
  /** The server says that it was erased; set by the desk, which knows what else of it is on the device. */
  onerased: () => void = () => {};
  private readonly api: Api;
  private ownerSeq = 0;
  private refreshing = false;

  constructor(id: string, api: Api) {
    super();
    this.id = id;
    this.api = api;
  }

  /** The last event that is here. */
  get last(): number {
    return this.events.at(-1)?.seq ?? 0;
  }

  /** Forgets all that was said: it was erased. */
  erase(): void {
    this.state = "erased";
    this.gone = true;
    this.events = [];
    this.context = undefined;
    this.earlier = false;
    this.notice = undefined;
    this.error = undefined;
    this.typingUntil = 0;
    this.owner = { kind: "closed" };
    this.changed();
  }

  private get erased(): boolean {
    return this.state === "erased";
  }

  async load(): Promise<void> {
    this.state = "loading";
    this.changed();
    try {
      const c = await this.api.get<Context>(`${conversationPath(this.id)}?before=${theEnd}&limit=${firstPage}`);
      if (this.erased) return;
      this.events = c.events;
      this.earlier = !!c.earlier;
      this.take(c);
      this.state = "ready";
      this.gone = false;
      this.error = undefined;
      this.onloaded();
    } catch (e) {
      if (isErased(e)) return this.onerased();
      if (this.erased) return;
      this.state = "failed";
      this.error = e as Error;
      this.gone = e instanceof Refused && (e.status === 403 || e.status === 404);
    }
    this.changed();
  }

  /** Reads what stands beside the log anew. */
  async refresh(): Promise<void> {
    if (this.refreshing || this.state !== "ready") return;
    this.refreshing = true;
    try {
      const c = await this.api.get<Context>(`${conversationPath(this.id)}?before=${theEnd}&limit=1`);
      if (this.state === "ready") this.take(c);
      this.changed();
    } catch (e) {
      if (isErased(e)) this.onerased(); // otherwise the next change asks again
    } finally {
      this.refreshing = false;
    }
  }

  async loadEarlier(): Promise<void> {
    const first = this.events[0]?.seq;
    if (!this.earlier || this.loadingEarlier || !first) return;
    this.loadingEarlier = true;
    this.changed();
    try {
      const p = await this.api.get<Page>(`${conversationPath(this.id)}?before=${first}&limit=${pageSize}`);
      if (this.erased) return;
      this.events = [...p.events, ...this.events];
      this.earlier = !!p.earlier;
    } catch (e) {
      if (isErased(e)) this.onerased(); // otherwise the button stays
    } finally {
      this.loadingEarlier = false;
      this.changed();
    }
  }

  /** Takes the next event; what is here already is passed over. Reports false for one that leaves a gap. */
  append(e: Event): boolean {
    if (this.erased) return true;
    if (e.seq <= this.last) return true;
    if (this.last && e.seq !== this.last + 1) return false;
    this.events.push(e);
    if (e.owner && e.seq > this.ownerSeq) {
      this.owner = e.owner.to;
      this.epoch = e.epoch;
      this.ownerSeq = e.seq;
      // The customer's place and everything else beside the log hangs on the owner.
      if (this.context) this.context = { ...this.context, owner: e.owner.to, position: e.owner.position };
    }
    if (e.message?.by === "customer") this.typingUntil = 0;
    this.changed();
    return true;
  }

  /** Takes what an act answered: the owner that is durable now. */
  result(r: Result): void {
    if (this.erased) return;
    if (r.seq < this.ownerSeq) return;
    this.owner = r.owner;
    if (this.epoch.n !== r.epoch) this.epoch = { n: r.epoch, op: "" };
    this.ownerSeq = r.seq;
    this.changed();
  }

  private take(c: Context): void {
    this.context = c;
    if (c.seq >= this.ownerSeq) {
      this.owner = c.owner;
      this.epoch = c.epoch;
      this.ownerSeq = c.seq;
    }
  }
}
