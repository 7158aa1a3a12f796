import { h, icon, icons, set, write } from "./dom.ts";
import type { Engine } from "./engine.ts";
import type { Stage } from "./stage.ts";
import type { Speech } from "./strings.ts";
import type { Attachment } from "./wire.ts";

/** A file that the customer picked. */
interface Picked {
  row: HTMLLIElement;
  words: HTMLElement;
  bar: HTMLProgressElement;
  abort: AbortController;
  state: "uploading" | "done" | "refused";
  attachment?: Attachment;
}

/** Where the customer writes. What was written and not sent survives a reload of the page, in this tab. */
export class Composer {
  readonly element: HTMLElement;
  /** Shown over the window while files are dragged there. */
  readonly drop: HTMLElement;
  private readonly field: HTMLTextAreaElement;
  private readonly send: HTMLButtonElement;
  private readonly list = h("ul", { class: "tw-files", hidden: true });
  private readonly problem = h("p", { class: "tw-bad", role: "alert", hidden: true });
  private readonly picked = new Set<Picked>();
  private readonly draft: string;
  private readonly files: Stage["face"]["files"];
  private readonly most: number; // bytes of text
  private stopped: ReturnType<typeof setTimeout> | undefined;
  private dragging = 0;

  constructor(
    stage: Stage,
    private readonly engine: Engine,
    private readonly words: Speech,
    private readonly url: string,
    private readonly announce: (text: string) => void,
  ) {
    const w = words.words;
    this.files = stage.face.files;
    this.most = stage.face.text_bytes;
    this.draft = `turnout.${stage.channel}.draft`;
    this.field = h("textarea", { rows: "1", "aria-label": w.write, placeholder: w.write, dir: "auto", autocomplete: "off", enterkeyhint: "send", oninput: () => this.typed() });
    this.field.value = kept(() => sessionStorage.getItem(this.draft)) ?? "";
    this.field.addEventListener("keydown", (e) => {
      if (e.key !== "Enter" || e.shiftKey || e.isComposing) return;
      e.preventDefault();
      this.submit();
    });
    this.field.addEventListener("paste", (e) => {
      const files = e.clipboardData?.files;
      if (!files?.length || !this.files) return;
      e.preventDefault();
      this.add(files);
    });
    this.send = h("button", { class: "tw-send", type: "submit", "aria-label": w.send, title: w.send }, icon(icons.send));
    const form = h("form", { class: "tw-in", novalidate: true, onsubmit: (e: Event) => (e.preventDefault(), this.submit()) }, ...this.attach(), this.field, this.send);
    this.element = h("div", { class: "tw-comp" }, this.list, this.problem, form);
    this.drop = h("div", { class: "tw-drop", hidden: true }, w.drop);
    this.draw();
  }

  focus(): void {
    this.field.focus({ preventScroll: true });
  }

  draw(): void {
    set(this.send, "aria-disabled", this.field.value.trim() || this.done().length ? undefined : "true");
    if (!CSS.supports("field-sizing", "content")) {
      this.field.style.height = "auto";
      this.field.style.height = `${Math.min(138, this.field.scrollHeight)}px`;
    }
  }

  clear(): void {
    this.field.value = "";
    for (const p of this.picked) this.remove(p);
    this.typed();
  }

  destroy(): void {
    clearTimeout(this.stopped);
    for (const p of this.picked) p.abort.abort();
  }

  /** Lets files be dropped on an element. */
  takeDrops(on: HTMLElement): void {
    if (!this.files) return;
    const has = (e: DragEvent) => !!e.dataTransfer?.types.includes("Files");
    const over = (n: number) => {
      this.dragging = Math.max(0, n);
      set(this.drop, "hidden", this.dragging === 0);
    };
    on.addEventListener("dragenter", (e) => has(e) && (e.preventDefault(), over(this.dragging + 1)));
    on.addEventListener("dragover", (e) => has(e) && e.preventDefault());
    on.addEventListener("dragleave", (e) => has(e) && over(this.dragging - 1));
    on.addEventListener("drop", (e) => {
      if (!has(e)) return;
      e.preventDefault();
      over(0);
      this.add(e.dataTransfer?.files ?? []);
    });
  }

  private attach(): HTMLElement[] {
    if (!this.files) return [];
    const w = this.words.words;
    const input = h("input", { type: "file", multiple: true, hidden: true, accept: this.files.types.join(","), tabindex: "-1", "aria-hidden": "true" });
    input.addEventListener("change", () => {
      this.add(input.files ?? []);
      input.value = "";
    });
    return [h("button", { class: "tw-ic", type: "button", "aria-label": w.attach, title: w.attach, onclick: () => input.click() }, icon(icons.attach)), input];
  }

  private typed(): void {
    const text = this.field.value;
    kept(() => (text ? sessionStorage.setItem(this.draft, text) : sessionStorage.removeItem(this.draft)));
    this.complain("");
    this.draw();
    clearTimeout(this.stopped);
    this.engine.writes(!!text);
    if (text) this.stopped = setTimeout(() => this.engine.writes(false), 4000);
  }

  private submit(): void {
    const w = this.words.words;
    const text = this.field.value.trim();
    const attachments = this.done();
    if (!text && !attachments.length) return;
    if ([...this.picked].some((p) => p.state === "uploading")) return this.complain(w.fileWait);
    if (new TextEncoder().encode(text).length > this.most) return this.complain(w.tooLong);
    this.engine.say({ text: text || undefined, attachments: attachments.length ? attachments : undefined });
    this.clear();
    this.focus();
  }

  private complain(text: string): void {
    write(this.problem, text);
    set(this.problem, "hidden", !text);
  }

  private done(): Attachment[] {
    return [...this.picked].flatMap((p) => p.attachment ?? []);
  }

  private add(files: Iterable<File>): void {
    const w = this.words.words;
    this.complain("");
    for (const file of files) {
      const good = [...this.picked].filter((p) => p.state !== "refused").length;
      if (good >= (this.files?.count ?? 0)) {
        this.complain(this.words.say(w.fileCount, { n: String(this.files?.count ?? 0) }));
        return;
      }
      this.pick(file);
    }
  }

  private pick(file: File): void {
    const w = this.words.words;
    const p: Picked = {
      row: h("li"),
      words: h("small"),
      bar: h("progress", { max: "1", value: "0", "aria-label": this.words.say(w.uploading, { name: file.name }) }),
      abort: new AbortController(),
      state: "uploading",
    };
    p.row.append(
      icon(icons.file, 18),
      h("div", {}, h("b", { dir: "auto" }, file.name), p.words),
      h("button", { class: "tw-ic", type: "button", "aria-label": this.words.say(w.remove, { name: file.name }), onclick: () => (this.remove(p), this.focus()) }, icon(icons.close, 15)),
      p.bar,
    );
    write(p.words, this.words.size(file.size));
    this.picked.add(p);
    this.list.append(p.row);
    set(this.list, "hidden", false);
    if (file.size > (this.files?.max_bytes ?? 0)) return this.refuse(p, "too_large");
    // What the browser takes the type to be is a guess from the name; the server looks at the content.
    if (file.type && !this.files?.types.includes(file.type)) return this.refuse(p, "type");
    import("./files.ts")
      .then((f) => f.upload(this.url, this.engine.sessions, file, (part) => (p.bar.value = part), p.abort.signal))
      .then(
        (attachment) => {
          p.attachment = attachment;
          p.state = "done";
          p.bar.remove();
          this.complain("");
          this.announce(this.words.say(w.uploaded, { name: file.name }));
          this.draw();
        },
        (err: { code?: string }) => this.picked.has(p) && this.refuse(p, err.code ?? "failed"),
      );
  }

  private refuse(p: Picked, code: string): void {
    const w = this.words.words;
    p.state = "refused";
    p.bar.remove();
    p.row.classList.add("bad");
    p.words.setAttribute("role", "alert");
    write(p.words, code === "too_large" ? this.words.say(w.fileTooLarge, { size: this.words.size(this.files?.max_bytes ?? 0) }) : code === "type" ? w.fileType : w.fileFailed);
    this.draw();
  }

  private remove(p: Picked): void {
    p.abort.abort();
    this.picked.delete(p);
    p.row.remove();
    set(this.list, "hidden", this.picked.size === 0);
    this.draw();
  }
}

function kept<T>(act: () => T): T | undefined {
  try {
    return act();
  } catch {
    return undefined; // the browser keeps nothing
  }
}
