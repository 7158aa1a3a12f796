import type { Shelf } from "./shelf.ts";
import type { Strings } from "./strings.ts";
import type { Face } from "./wire.ts";

/** What a page can hear of: turnout.on(name, listener). */
export interface Happenings {
  open: void;
  close: void;
  /** Something was said by the other side. */
  message: { by: "bot" | "agent" | "system"; text: string };
  /** Who has the conversation. */
  owner: { kind: string; name?: string };
}

/** What the loader gives to the chat that it loads. It must stay compatible: a page may hold an older loader. */
export interface Stage {
  root: ShadowRoot;
  /** The gateway: https://chat.example */
  base: string;
  channel: string;
  face: Face;
  shelf: Shelf;
  /** Wanted languages, the best first, and the tables that the page added. */
  wanted: readonly string[];
  tables: Record<string, Partial<Strings>>;
  style(css: string): void;
  emit<K extends keyof Happenings>(name: K, what: Happenings[K]): void;
  /** The chat closes itself: the loader shows its button again. */
  closed(): void;
  /** News for the button: how many messages nobody has seen, and the button's words. */
  button(unread: number, label: string): void;
}

/** The chat as the loader knows it. */
export interface Chat {
  open(): void;
  close(): void;
  dark(on: boolean): void;
  identify(statement: string): Promise<void>;
  reset(): void;
  destroy(): void;
}

/** What a chat chunk exports. */
export interface Part {
  start(stage: Stage): Promise<Chat>;
}
