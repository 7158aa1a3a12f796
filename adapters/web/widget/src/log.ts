import { h, icon, icons, set, write } from "./dom.ts";
import type { Engine } from "./engine.ts";
import { link, markdown, safe } from "./markdown.ts";
import type { Waiting } from "./outbox.ts";
import type { Speech } from "./strings.ts";
import { asksForPerson } from "./thread.ts";
import type { Attachment, Choice, Visible } from "./wire.ts";

type Files = typeof import("./files.ts");

/**
 * The log draws the thread, the messages that are not part of it yet, and what goes on below them. What is drawn of the
 * thread stays as it is: events never change.
 */
export class Log {
  private readonly thread = h("div", { class: "tw-log", role: "log", "aria-live": "off", "aria-busy": "true" });
  private readonly out = h("div", { class: "tw-out" });
  private readonly typing = h("div", { class: "tw-i", hidden: true });
  private readonly typist = h("span", { class: "tw-vh", role: "status" });
  private readonly choices = h("div", { class: "tw-i", role: "group", hidden: true });
  private readonly waiting = new Map<string, HTMLElement>();
  private events: readonly Visible[] = []; // what is drawn, as the engine's own array
  private count = 0;
  private lane = "bot"; // who has the conversation where the log ends
  private day = "";
  private last: { by: string; who: HTMLElement | null } = { by: "", who: null };
  private status: HTMLElement | null = null; // below the customer's last message
  private lastOwn: Visible | null = null;
  private offered = ""; // key of the choices that are drawn
  private loading: Promise<Files> | null = null;

  /** The parts in their order. */
  readonly parts: HTMLElement[];

  constructor(
    private readonly engine: Engine,
    private readonly words: Speech,
    private readonly url: string,
    private readonly chosen: (choice: Choice) => void,
  ) {
    this.thread.setAttribute("aria-label", words.words.log);
    this.choices.setAttribute("aria-label", words.words.choices);
    this.parts = [this.thread, this.out, this.typing, this.choices];
  }

  clear(): void {
    this.thread.replaceChildren();
    this.events = [];
    this.count = 0;
    this.lane = "bot";
    this.day = "";
    this.last = { by: "", who: null };
    this.status = this.lastOwn = null;
  }

  draw(): void {
    const { thread, current } = this.engine;
    if (thread.events !== this.events) {
      this.clear();
      this.events = thread.events;
    }
    for (; this.count < thread.events.length; this.count++) this.event(thread.events[this.count] as Visible, thread.events[this.count - 1]);
    // What was there before is not read out; what comes from now on is.
    if (current && this.thread.getAttribute("aria-busy")) {
      set(this.thread, "aria-busy", undefined);
      setTimeout(() => set(this.thread, "aria-live", "polite"), 50);
    }
    this.drawOut();
    this.drawStatus();
    this.drawTyping();
    this.drawChoices();
  }

  private event(e: Visible, before: Visible | undefined): void {
    const w = this.words.words;
    this.newDay(e.at);
    if (before && before.conversation !== e.conversation) {
      this.line(w.again);
      this.lane = "bot";
    }
    switch (e.type) {
      case "message":
      case "rating":
        if (asksForPerson(e)) this.line(this.words.say(w.asked, { time: this.words.time(e.at) }));
        else this.message(e);
        break;
      case "owner":
        this.moved(e, before);
        break;
      case "closed":
        this.line(this.words.say(w.closed, { time: this.words.time(e.at) }));
        this.lane = "closed";
        break;
      case "reopened":
        this.line(w.reopened);
        this.lane = "bot";
        break;
      case "delivery_failed":
        this.line(w.undelivered);
    }
  }

  private moved(e: Visible, before: Visible | undefined): void {
    const w = this.words.words;
    const kind = e.owner?.kind ?? "bot";
    const from = this.lane;
    const row = (text: string) => this.line(text, kind === from ? undefined : kind);
    if (kind === "queued" && before && asksForPerson(before) && this.thread.lastElementChild) {
      // It is what was asked for: the line of the request bends.
      this.thread.lastElementChild.classList.add("bend");
      this.thread.lastElementChild.prepend(bend(from, kind));
    } else if (kind === "agent") row(this.words.say(w.joined, { name: e.owner?.name ?? w.someone }));
    else if (kind === "queued") row(w.queued);
    else if (kind === "captured") row(w.kept);
    // The end has an event of its own; so has going on.
    else if (kind === "bot" && before?.type !== "reopened") row(w.back);
    if (kind !== "closed") this.lane = kind;
  }

  /** A line about the conversation itself. to bends the line of ownership. */
  private line(text: string, to?: string): void {
    const row = h("div", { class: "tw-i", "data-own": this.lane }, h("div", { class: "tw-ev" }, h("span", { dir: "auto" }, text)));
    if (to) {
      row.classList.add("bend");
      row.prepend(bend(this.lane, to));
    }
    this.thread.append(row);
    this.last = { by: "", who: null };
  }

  private message(e: Visible): void {
    const w = this.words.words;
    const by = e.by ?? "bot";
    const own = by === "customer";
    const human = by === "agent";
    const author = own ? w.you : human ? (e.name ?? w.someone) : w.assistant;
    const row = h("div", { class: `tw-i${own ? " me" : human ? " hum" : ""}`, "data-own": this.lane }, h("span", { class: "tw-vh" }, h("bdi", {}, author), ": "));
    const { part } = e;
    if (part?.text) {
      const bubble = h("div", { class: "tw-m", dir: "auto" }, own ? part.text : markdown(part.text));
      if (part.lang) bubble.lang = part.lang;
      row.append(bubble);
    }
    if (part?.link && safe(part.link)) row.append(card(part.link));
    for (const file of part?.attachments ?? []) row.append(this.file(file, true));
    // One signature below what somebody said in a row.
    const signed = human ? author : "";
    if (this.last.by === signed && this.last.who) this.last.who.remove();
    const who = signed ? h("div", { class: "tw-who" }, h("bdi", {}, signed), ", ", this.words.time(e.at)) : null;
    if (who) row.append(who);
    this.last = { by: signed, who };
    if (own) {
      this.status?.remove();
      this.status = h("div", { class: "tw-st" });
      row.append(this.status);
      this.lastOwn = e;
    }
    this.thread.append(row);
  }

  private file(file: Attachment, there: boolean): HTMLElement {
    const w = this.words.words;
    const size = this.words.size(file.size);
    const open = () => void this.files().then((f) => f.save(this.url, this.engine.sessions, file)).catch(() => {});
    const button = h(
      "button",
      { class: "tw-card", type: "button", "aria-label": this.words.say(w.download, { name: file.name, size }), onclick: there ? open : undefined },
      h("span", {}, icon(icons.file, 20)),
      h("span", {}, h("b", { dir: "auto" }, file.name), " ", h("small", {}, size)),
    );
    if (there && /^image\/(png|jpeg|gif|webp)$/.test(file.type) && file.size < 8 << 20) {
      // A picture that cannot be had stays the file that it is.
      void this.files()
        .then((f) => f.picture(this.url, this.engine.sessions, file))
        .then((canvas) => {
          button.className = "tw-pic";
          button.replaceChildren(canvas);
        })
        .catch(() => {});
    }
    return button;
  }

  private files(): Promise<Files> {
    this.loading ??= import("./files.ts").catch((err: unknown) => {
      this.loading = null;
      throw err;
    });
    return this.loading;
  }

  /** What the customer has said and the conversation does not show yet. */
  private drawOut(): void {
    const list = this.engine.outbox.list().filter((e) => e.kind === "message" || e.state === "failed");
    for (const [id, row] of this.waiting) {
      if (list.some((e) => e.id === id)) continue;
      row.remove();
      this.waiting.delete(id);
    }
    for (const e of list) {
      let row = this.waiting.get(e.id);
      if (!row) {
        row = h("div", { class: "tw-i me pending" }, h("span", { class: "tw-vh" }, `${this.words.words.you}: `));
        const text = e.text || e.action?.label || (e.kind === "human" ? this.words.words.talk : "");
        if (text) row.append(h("div", { class: "tw-m", dir: "auto" }, text));
        for (const file of e.attachments ?? []) row.append(this.file(file, false));
        row.append(h("div", { class: "tw-st" }));
        this.waiting.set(e.id, row);
        this.out.append(row);
      }
      set(row, "data-own", this.lane);
      row.classList.toggle("failed", e.state === "failed");
      row.classList.toggle("held", e.state === "waiting" && !this.quiet);
      this.drawState(row.lastElementChild as HTMLElement, e);
    }
  }

  /** Nothing is wrong that people should know of. */
  private get quiet(): boolean {
    return this.engine.trouble === "" || this.engine.trouble === "connecting";
  }

  private drawState(at: HTMLElement, e: Waiting): void {
    const w = this.words.words;
    const { quiet } = this;
    const key = `${e.state} ${quiet}`;
    if (at.dataset["key"] === key) return;
    at.dataset["key"] = key;
    at.className = `tw-st${e.state === "failed" ? " bad" : quiet && e.state !== "accepted" ? " late" : ""}`;
    if (e.state !== "failed") {
      write(at, e.state === "accepted" ? w.accepted : quiet ? w.sending : w.unsent);
      return;
    }
    const why = e.failed === "too_large" ? w.tooLong : w.notTaken;
    at.setAttribute("role", "alert");
    at.replaceChildren(
      `${w.failed} ${why}`,
      h("button", { type: "button", onclick: () => this.engine.retry(e.id) }, w.retry),
      h("button", { type: "button", onclick: () => this.engine.discard(e.id) }, w.discard),
    );
  }

  private drawStatus(): void {
    if (!this.status || !this.lastOwn) return;
    const { thread, read } = this.engine;
    const same = this.lastOwn.conversation === thread.conversation;
    const w = this.words.words;
    const seen = same && read >= this.lastOwn.vseq;
    // An answer says that a message arrived; where none is to come at once, a word does.
    const last = thread.events.at(-1) === this.lastOwn && thread.owner.kind !== "bot" && this.waiting.size === 0;
    write(this.status, seen ? w.read : last ? w.accepted : "");
    set(this.status, "hidden", !this.status.textContent);
  }

  private drawTyping(): void {
    const { engine } = this;
    const w = this.words.words;
    const agent = engine.thread.owner.kind === "agent" && engine.typing;
    const sending = engine.thread.owner.kind === "bot" && this.waiting.size > 0 && engine.outbox.list().some((e) => e.state === "accepted");
    const text = agent ? this.words.say(w.typing, { name: agent.name || w.someone }) : engine.thinking || sending ? w.thinking : "";
    set(this.typing, "hidden", !text);
    set(this.typing, "data-own", this.lane);
    this.typing.classList.toggle("hum", !!agent);
    if (text && !this.typing.firstChild)
      this.typing.append(h("div", { class: "tw-m tw-typ", "aria-hidden": "true" }, h("i"), h("i"), h("i")), this.typist);
    write(this.typist, text);
  }

  /** The answers that the bot offers, while they are the last word. */
  private drawChoices(): void {
    const { thread, outbox } = this.engine;
    const last = thread.events.at(-1);
    const open = last?.type === "message" && last.by !== "customer" && outbox.list().length === 0 ? last.part?.choices : undefined;
    const key = open?.length ? `${last?.conversation}.${last?.vseq}` : "";
    if (key === this.offered) return;
    this.offered = key;
    set(this.choices, "hidden", !key);
    set(this.choices, "data-own", this.lane);
    this.choices.replaceChildren(
      h(
        "div",
        { class: "tw-q" },
        ...(open ?? []).map((c) => h("button", { type: "button", dir: "auto", onclick: () => this.choose({ id: c.id, label: c.label }) }, c.label)),
      ),
    );
  }

  /** The choices go with the press, not with the next picture: a second press before it would be a second answer. */
  private choose(choice: Choice): void {
    this.chosen(choice);
    this.drawChoices();
  }

  private newDay(at: string): void {
    const date = new Date(at);
    const day = date.toDateString();
    if (day === this.day) return;
    const first = this.day === "";
    this.day = day;
    if (first && day === new Date().toDateString()) return;
    this.line(new Intl.DateTimeFormat(this.words.lang, { weekday: "long", day: "numeric", month: "long" }).format(date));
  }
}

function card(address: string): HTMLElement {
  const a = link(address, h("span", {}, icon(icons.link, 20)));
  let host = address;
  try {
    host = new URL(address).host;
  } catch {
    // It stays as it is written.
  }
  a.className = "tw-card";
  a.append(h("span", {}, h("b", { dir: "ltr" }, host), h("small", { dir: "ltr" }, address.length > 60 ? `${address.slice(0, 57)}…` : address)));
  return a;
}

/** The line of ownership where it goes from one owner to the next: the bot's lane is the outer one. */
function bend(from: string, to: string): SVGElement {
  const space = "http://www.w3.org/2000/svg";
  const x = (own: string) => (own === "bot" ? 1 : 7);
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("class", `tw-bend ${to}`);
  svg.setAttribute("viewBox", "0 0 8 30");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", `M${x(from)} 0V5C${x(from)} 15 ${x(to)} 13 ${x(to)} 24V30`);
  svg.append(path);
  return svg;
}
