import type { Owner, Visible } from "./wire.ts";

/** What became of an event that was put into the thread. */
export type Taken = "new" | "known" | "gap";

/**
 * The thread is what the customer may see, in order and each event once, whatever the links deliver. Several
 * conversations may follow each other in it.
 */
export class Thread {
  readonly events: Visible[] = [];
  conversation = "";
  vseq = 0;
  owner: Owner = { kind: "bot" };
  /** When the present owner became it, as the server says. */
  since = "";
  /** The customer's message that the bot has not answered yet, if the bot is to answer. */
  unanswered: Visible | null = null;
  private past = new Set<string>();
  private said = new Set<string>();

  /** The place to go on from. */
  get cursor(): string {
    return this.conversation && `${this.conversation}.${this.vseq}`;
  }

  /** Whether the customer's message with this id is in it. */
  holds(id: string): boolean {
    return this.said.has(id);
  }

  take(e: Visible): Taken {
    if (e.conversation !== this.conversation) {
      if (this.past.has(e.conversation)) return "known";
      if (e.vseq !== 1) return "gap";
      if (this.conversation) this.past.add(this.conversation);
      this.conversation = e.conversation;
      this.owner = { kind: "bot" };
      this.unanswered = null;
    } else if (e.vseq <= this.vseq) {
      return "known";
    } else if (e.vseq !== this.vseq + 1) {
      return "gap";
    }
    this.vseq = e.vseq;
    this.events.push(e);
    if (e.client_id) this.said.add(e.client_id);
    this.fold(e);
    return "new";
  }

  private fold(e: Visible): void {
    switch (e.type) {
      case "message":
      case "rating":
        if (e.by !== "customer") this.unanswered = null;
        else if (this.owner.kind === "bot" && !asksForPerson(e)) this.unanswered = e;
        break;
      case "owner":
        if (e.owner) this.become(e.owner, e.at);
        break;
      case "closed":
        this.become({ kind: "closed" }, e.at);
        break;
      case "reopened":
        // Who has it now is told by an owner event, if it is not the bot.
        this.become({ kind: "bot" }, e.at);
    }
  }

  private become(owner: Owner, at: string): void {
    if (owner.kind !== this.owner.kind || owner.name !== this.owner.name) this.since = at;
    this.owner = owner;
    if (owner.kind !== "bot") this.unanswered = null;
  }
}

/** Whether an event is the one-step request for a person: the customer's, with nothing in it. */
export function asksForPerson(e: Visible): boolean {
  return e.type === "message" && e.by === "customer" && !e.part?.text && !e.part?.attachments?.length;
}
