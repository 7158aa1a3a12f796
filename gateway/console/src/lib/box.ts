import type { Storage } from "./env.ts";

/**
 * What is kept on this device for one agent: drafts, sends on their way, what was read, the panes. A device that keeps
 * nothing (private mode, full) loses that at a reload and works otherwise.
 */
export class Box {
  private readonly storage: Storage;
  private readonly prefix: string;

  constructor(storage: Storage, tenant: string, agent: string) {
    this.storage = storage;
    this.prefix = `turnout/${tenant}/${agent}/`;
  }

  get<T>(name: string): T | undefined {
    try {
      const v = this.storage.getItem(this.prefix + name);
      return v === null ? undefined : (JSON.parse(v) as T);
    } catch {
      return undefined;
    }
  }

  /** Reports whether it is kept. */
  set(name: string, value: unknown): boolean {
    try {
      this.storage.setItem(this.prefix + name, JSON.stringify(value));
      return true;
    } catch {
      return false;
    }
  }

  remove(name: string): void {
    try {
      this.storage.removeItem(this.prefix + name);
    } catch {
      // then it was not kept either
    }
  }

  /** The names below a prefix. */
  names(below: string): string[] {
    const out: string[] = [];
    try {
      for (let i = 0; i < this.storage.length; i++) {
        const key = this.storage.key(i);
        if (key?.startsWith(this.prefix + below)) out.push(key.slice(this.prefix.length));
      }
    } catch {
      // nothing is kept
    }
    return out.sort();
  }

  /** The name that a key of the storage stands for, if it is of this box. */
  nameOf(key: string | null): string | undefined {
    return key?.startsWith(this.prefix) ? key.slice(this.prefix.length) : undefined;
  }
}
