import { Composer } from "./composer.ts";
import { h, icon, icons, set, write } from "./dom.ts";
import type { Engine } from "./engine.ts";
import { Log } from "./log.ts";
import type { Stage } from "./stage.ts";
import type { Speech } from "./strings.ts";
import { drawWaiting } from "./waiting.ts";

/** The window of the chat. It draws what the engine has, whenever the engine says that something changed. */
export class View {
  private readonly panel: HTMLElement;
  private readonly title = h("bdi");
  private readonly sub = h("p");
  private readonly avatar = h("span", { class: "tw-av", "aria-hidden": "true" });
  private readonly alert = h("div", { class: "tw-alert", role: "status", hidden: true });
  private readonly body: HTMLElement;
  private readonly hello: HTMLElement;
  private readonly wait = h("div", { class: "tw-wait", role: "status" });
  private readonly waitRow = h("div", { class: "tw-i", hidden: true }, this.wait);
  private readonly person: HTMLButtonElement;
  private readonly fresh: HTMLButtonElement;
  private readonly note = h("p", { class: "tw-by", hidden: true });
  private readonly said = h("p", { class: "tw-vh", role: "status" });
  private readonly log: Log;
  private readonly composer: Composer;
  private readonly phone = matchMedia("(max-width: 480px)");
  private readonly grows = new ResizeObserver(() => {
    if (this.stuck) this.body.scrollTop = this.body.scrollHeight;
  });
  private isOpen = false;
  private stuck = true; // the end of the thread is in sight
  private owner = "";
  private drawn = ""; // what the waiting card shows
  private frame = 0;
  private late: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly stage: Stage,
    private readonly engine: Engine,
    private readonly words: Speech,
    url: string,
  ) {
    const w = words.words;
    this.log = new Log(engine, words, url, (choice) => {
      engine.say({ action: choice });
      this.stuck = true;
    });
    this.composer = new Composer(stage, engine, words, url, (message) => write(this.said, message));
    this.hello = this.drawHello();
    this.body = h("div", { class: "tw-b", tabindex: "0", role: "group", "aria-label": w.log, onscroll: () => this.scrolled() }, this.hello, ...this.log.parts, this.waitRow);
    this.person = h("button", { class: "tw-person", type: "button", onclick: () => this.askPerson() });
    this.fresh = h("button", { class: "tw-new", type: "button", hidden: true, onclick: () => this.toEnd() });
    this.panel = h(
      "div",
      { class: "tw", role: "dialog", "aria-labelledby": "tw-title", lang: words.lang, dir: w.dir, hidden: true },
      h(
        "div",
        { class: "tw-h" },
        this.avatar,
        h("div", { class: "tw-n" }, h("h2", { id: "tw-title" }, this.title), this.sub),
        h("button", { class: "tw-ic", type: "button", "aria-label": w.close, title: w.close, onclick: () => this.close() }, icon(icons.close)),
      ),
      this.alert,
      this.body,
      h("div", { class: "tw-f" }, this.fresh, this.person, this.composer.element, this.note),
      this.composer.drop,
      this.said,
    );
    this.composer.takeDrops(this.panel);
    this.panel.addEventListener("keydown", (e) => this.key(e));
    // The page's own single-key shortcuts must not act on what is typed here: behind a shadow root they cannot see that
    // it is a text field.
    for (const type of ["keydown", "keypress", "keyup"]) this.panel.addEventListener(type, (e) => e.stopPropagation());
    stage.root.append(this.panel);
    // Pictures grow when they have come; the end stays in sight.
    for (const part of this.log.parts) this.grows.observe(part);
    this.grows.observe(this.body);
    this.phone.addEventListener("change", this.fit);
    visualViewport?.addEventListener("resize", this.fit);
    visualViewport?.addEventListener("scroll", this.fit);
    this.changed();
  }

  open(): void {
    if (this.isOpen) return;
    this.isOpen = true;
    this.panel.hidden = false;
    this.fit();
    this.draw();
    this.toEnd();
    // On a phone the keyboard would cover what there is to read.
    if (this.phone.matches) this.body.focus({ preventScroll: true });
    else this.composer.focus();
  }

  close(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.panel.hidden = true;
    this.looked();
    this.stage.closed();
  }

  dark(on: boolean): void {
    this.panel.classList.toggle("dark", on);
  }

  /** Nothing of what was said stays in the document. */
  clear(): void {
    this.composer.clear();
    this.log.clear();
    this.changed();
  }

  destroy(): void {
    this.unschedule();
    this.grows.disconnect();
    this.phone.removeEventListener("change", this.fit);
    visualViewport?.removeEventListener("resize", this.fit);
    visualViewport?.removeEventListener("scroll", this.fit);
    this.composer.destroy();
    this.panel.remove();
  }

  /** Draws with the next frame; in a tab that shows none, a little later. */
  changed(): void {
    this.badge();
    if (this.frame) return;
    const draw = () => {
      this.unschedule();
      this.draw();
    };
    this.frame = requestAnimationFrame(draw);
    this.late = setTimeout(draw, 200);
  }

  private unschedule(): void {
    cancelAnimationFrame(this.frame);
    clearTimeout(this.late);
    this.frame = 0;
  }

  /** Says to the engine whether the end of the thread is being looked at. */
  looked(): void {
    this.engine.look(this.isOpen && this.stuck && document.visibilityState === "visible");
  }

  private draw(): void {
    const { engine, body } = this;
    this.head();
    this.trouble();
    this.log.draw();
    this.hello.hidden = !engine.current || engine.thread.events.length > 0 || engine.outbox.list().length > 0;
    this.waiting();
    this.buttons();
    this.composer.draw();
    if (this.stuck) body.scrollTop = body.scrollHeight;
    this.fresh.hidden = this.stuck || engine.unread === 0;
    if (!this.fresh.hidden) this.fresh.replaceChildren(icon(icons.down, 15), this.words.count(this.words.words.unread, engine.unread));
    this.looked();
  }

  private head(): void {
    const w = this.words.words;
    const owner = this.engine.thread.owner;
    const name = owner.kind === "agent" ? (owner.name ?? "") : "";
    write(this.title, name || this.stage.face.title);
    const subs = { bot: w.assistant, queued: w.waiting, agent: w.person, captured: w.kept, closed: w.over };
    write(this.sub, subs[owner.kind]);
    const key = owner.kind + name;
    if (key === this.owner) return;
    this.owner = key;
    this.avatar.classList.toggle("hum", owner.kind === "agent");
    this.avatar.replaceChildren(name ? initials(name) : icon(owner.kind === "agent" ? icons.person : icons.chat));
  }

  private trouble(): void {
    const { engine } = this;
    const w = this.words.words;
    const texts = { "": "", connecting: w.connecting, offline: w.offline, unreachable: w.unreachable, busy: w.busy, refused: w.unreachable };
    // A connection that is being made is worth a word only where something waits for it.
    const text = engine.trouble === "connecting" && !engine.thread.events.length && !engine.outbox.list().length ? "" : texts[engine.trouble];
    set(this.alert, "hidden", !text);
    if (this.alert.dataset["text"] === text) return;
    this.alert.dataset["text"] = text;
    this.alert.classList.toggle("calm", engine.trouble === "connecting");
    this.alert.replaceChildren(...(text ? [icon(icons.alert, 16), h("span", {}, text)] : []));
  }

  private waiting(): void {
    const { owner, since } = this.engine.thread;
    const kind = owner.kind === "queued" || owner.kind === "captured" ? owner.kind : null;
    set(this.waitRow, "hidden", !kind);
    set(this.waitRow, "data-own", kind ?? undefined);
    const key = kind ? `${kind} ${this.engine.place} ${since}` : "";
    if (key === this.drawn) return;
    this.drawn = key;
    this.wait.replaceChildren(...(kind ? drawWaiting(this.words, kind, this.engine.place, since) : []));
  }

  private buttons(): void {
    const w = this.words.words;
    const { engine, person } = this;
    const { kind } = engine.thread.owner;
    const people = kind === "queued" || kind === "agent" || kind === "captured";
    const had = this.stage.root.activeElement === person;
    set(person, "hidden", people);
    if (people && had) this.composer.focus();
    const asking = engine.asking && !people;
    set(person, "aria-disabled", asking ? "true" : undefined);
    const label = asking ? w.asking : w.talk;
    if (person.dataset["label"] !== label) {
      person.dataset["label"] = label;
      person.replaceChildren(asking ? h("span", { class: "tw-spin", "aria-hidden": "true" }) : icon(icons.person, 17), label);
    }
    set(this.note, "hidden", kind !== "closed");
    if (kind === "closed") write(this.note, w.reply);
  }

  private badge(): void {
    const { unread } = this.engine;
    const w = this.words.words;
    this.stage.button(this.isOpen ? 0 : unread, unread ? `${w.open}, ${this.words.count(w.unread, unread)}` : w.open);
  }

  private askPerson(): void {
    if (this.engine.asking) return;
    this.stuck = true;
    this.engine.human();
  }

  private scrolled(): void {
    const { scrollTop, scrollHeight, clientHeight } = this.body;
    const stuck = scrollHeight - scrollTop - clientHeight < 24;
    if (stuck === this.stuck) return;
    this.stuck = stuck;
    this.changed();
  }

  private toEnd(): void {
    this.stuck = true;
    this.body.scrollTop = this.body.scrollHeight;
    this.changed();
  }

  private key(e: KeyboardEvent): void {
    if (e.key === "Escape" && !e.isComposing) {
      e.preventDefault();
      this.close();
    } else if (e.key === "Tab" && this.phone.matches) this.trap(e);
  }

  /** On a phone the window is all there is: Tab stays within. */
  private trap(e: KeyboardEvent): void {
    const all = [...this.panel.querySelectorAll<HTMLElement>("button, a[href], textarea, [tabindex='0']")].filter((x) => x.checkVisibility?.() ?? true);
    const edge = e.shiftKey ? all[0] : all.at(-1);
    if (this.stage.root.activeElement !== edge) return;
    e.preventDefault();
    (e.shiftKey ? all.at(-1) : all[0])?.focus();
  }

  /** Takes the room that the keyboard of a phone leaves. */
  private readonly fit = (): void => {
    set(this.panel, "aria-modal", this.phone.matches ? "true" : undefined);
    const v = visualViewport;
    if (!v || !this.phone.matches) return;
    // Zoomed in with two fingers, the window is what it was.
    if (v.scale > 1.01) return;
    this.panel.style.setProperty("--tw-vh", `${v.height}px`);
    this.panel.style.setProperty("--tw-top", `${v.offsetTop}px`);
    if (this.stuck) this.body.scrollTop = this.body.scrollHeight;
  };

  private drawHello(): HTMLElement {
    const w = this.words.words;
    const greetings = this.stage.face.greeting ?? {};
    const greeting = greetings[this.words.lang] ?? greetings[this.words.lang.split("-")[0] ?? ""];
    return h(
      "div",
      { class: "tw-hello", hidden: true },
      h("span", { class: "tw-av", "aria-hidden": "true" }, icon(icons.chat, 24)),
      h("h3", { dir: "auto" }, greeting ?? w.hello),
      h("p", {}, w.helloPerson),
    );
  }
}

/** The first letters of a name's first and last word. */
function initials(name: string): string {
  const words = name.trim().split(/\s+/);
  const first = (s: string | undefined) => (s ? ([...s][0] ?? "") : "");
  return (first(words[0]) + (words.length > 1 ? first(words.at(-1)) : "")).toLocaleUpperCase();
}
