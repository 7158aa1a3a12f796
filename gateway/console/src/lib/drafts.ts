import type { Box } from "./box.ts";
import { Source, type Env } from "./env.ts";
import type { Mode } from "./outbox.ts";

export interface Draft {
  text: string;
  at: number;
}

const pause = 250;

/** Drafts, a reply and a note apart for each conversation. Each is kept at a pause in writing and when the page goes. */
export class Drafts extends Source {
  private readonly env: Env;
  private readonly box: Box;
  private readonly drafts = new Map<string, Draft>();
  private readonly unsaved = new Map<string, () => void>();

  constructor(env: Env, box: Box) {
    super();
    this.env = env;
    this.box = box;
    for (const name of box.names("draft/")) this.read(name);
  }

  get(conversation: string, mode: Mode): string {
    return this.drafts.get(nameOf(conversation, mode))?.text ?? "";
  }

  set(conversation: string, mode: Mode, text: string): void {
    const name = nameOf(conversation, mode);
    if ((this.drafts.get(name)?.text ?? "") === text) return;
    if (text) this.drafts.set(name, { text, at: this.env.now() });
    else this.drafts.delete(name);
    this.unsaved.get(name)?.();
    this.unsaved.set(name, this.env.after(pause, () => this.save(name)));
    this.changed();
  }

  /** Whether everything that was written is kept. */
  get saved(): boolean {
    return this.unsaved.size === 0;
  }

  flush(): void {
    for (const name of [...this.unsaved.keys()]) this.save(name);
  }

  /** Another page of the same agent wrote: reads what it kept, unless this one is just writing there itself. */
  heard(name: string): void {
    if (!name.startsWith("draft/") || this.unsaved.has(name)) return;
    this.drafts.delete(name);
    this.read(name);
    this.changed();
  }

  private read(name: string): void {
    const d = this.box.get<Draft>(name);
    if (d?.text) this.drafts.set(name, d);
  }

  private save(name: string): void {
    this.unsaved.get(name)?.();
    this.unsaved.delete(name);
    const d = this.drafts.get(name);
    if (d) this.box.set(name, d);
    else this.box.remove(name);
    this.changed();
  }
}

const nameOf = (conversation: string, mode: Mode) => `draft/${conversation}/${mode}`;
