// The script of the tag. It draws one button and loads the chat when somebody opens it, or when there is a conversation
// to go on with. It leaves one name on the page: window.turnout.
import css from "./loader.css?inline";
import { openShelf, type Shelf } from "./shelf.ts";
import type { Chat, Happenings, Part, Stage } from "./stage.ts";
import type { Strings } from "./strings.ts";
import type { Face, Palette } from "./wire.ts";

declare const __CHAT__: string; // the file name of the chat, put in by the build
declare const __VERSION__: string;

export interface Options {
  /** The channel's public key, "acme.web". */
  channel: string;
  /** Where the gateway is; the address of the script otherwise. */
  base?: string;
  /** A language tag; the page's language otherwise, then the reader's. */
  lang?: string;
  /** "auto" follows the page. */
  scheme?: "auto" | "light" | "dark";
  /** Whether to begin open. */
  open?: boolean;
  /** The nonce of the page's policy, for browsers without constructable style sheets. */
  nonce?: string;
}

const script = document.currentScript as HTMLScriptElement | null;
const known = (window as unknown as { turnout?: { mount(o: Options): void; version?: string } }).turnout;
const tables: Record<string, Partial<Strings>> = {};
const listeners = new Map<string, Set<(what: never) => void>>();
let mounted: Mounted | null = null;
let who: Statement | null = null; // of the site about its visitor, over all mounts

type Statement = string | (() => Promise<string>);

const api = {
  version: __VERSION__,
  /** Puts the chat on the page, in the place of one that is there. */
  mount(options: Options): void {
    mounted?.unmount();
    mounted = new Mounted({ base: script ? new URL(".", script.src).href : location.href, nonce: script?.nonce, ...options });
  },
  /** Takes it off again and ends its connection. The conversation stays. */
  unmount(): void {
    mounted?.unmount();
    mounted = null;
  },
  open: () => mounted?.open(true),
  close: () => mounted?.close(),
  /**
   * Tells who the visitor is, in the words of your server: a JWT, or a function that gets one. A chat that nobody has
   * opened asks for it when somebody does, so pages that nobody chats on cost nothing. Otherwise the promise says whether
   * it was taken.
   */
  identify: (statement: Statement): Promise<void> => {
    who = statement;
    return mounted?.identify() ?? Promise.resolve();
  },
  /** Forgets the visitor on this device, for when your site signs its user out. */
  reset(): void {
    who = null;
    mounted?.reset();
  },
  /** Adds a language, or changes words of one, before mount. */
  language(tag: string, words: Partial<Strings>): void {
    tables[tag] = { ...tables[tag], ...words };
  },
  /** Hears of something; the answer stops it. */
  on<K extends keyof Happenings>(name: K, listener: (what: Happenings[K]) => void): () => void {
    const set = listeners.get(name) ?? new Set();
    listeners.set(name, set.add(listener as (what: never) => void));
    return () => void set.delete(listener as (what: never) => void);
  },
};

const labels: Record<string, string> = { en: "Open the chat", es: "Abrir el chat" };
const chatIcon = "M4 5.500h16a1.500 1.500 0 0 1 1.500 1.500v9a1.500 1.500 0 0 1-1.500 1.500h-8l-5 3.500v-3.500H4A1.500 1.500 0 0 1 2.500 16V7A1.500 1.500 0 0 1 4 5.500zM8 11.500h.1M12 11.500h.1M16 11.500h.1";

class Mounted {
  private readonly host = document.createElement("div");
  private readonly root = this.host.attachShadow({ mode: "open" });
  private readonly base: string;
  private readonly shelf: Shelf;
  private readonly wanted: string[];
  private readonly button = document.createElement("button");
  private readonly badge = document.createElement("span");
  private readonly trouble = document.createElement("p");
  private readonly dark = matchMedia("(prefers-color-scheme: dark)");
  private readonly page = new MutationObserver(() => this.paint());
  private chat: Chat | null = null;
  private loading: Promise<Chat> | null = null;
  private face: Face | null = null;
  private gone = false;
  private retry: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly o: Options) {
    this.base = (o.base ?? "").replace(/\/+$/, "");
    this.shelf = openShelf(o.channel);
    this.wanted = [o.lang, document.documentElement.lang, ...navigator.languages].filter((l): l is string => !!l);
    this.host.setAttribute("data-turnout", o.channel);
    this.style(css);
    this.build();
    try {
      this.show(JSON.parse(this.shelf.get("face") ?? "") as Face);
    } catch {
      // Nothing is kept: the button comes when it is known how it looks.
    }
    void this.ask(0);
  }

  /** Asks how the channel looks. What was kept from the last visit is shown meanwhile, and also without a network. */
  private async ask(n: number): Promise<void> {
    try {
      const answer = await fetch(`${this.base}/v1/web/${this.o.channel}/widget`, { credentials: "omit" });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      const face = (await answer.json()) as Face;
      this.shelf.set("face", JSON.stringify(face));
      this.show(face);
    } catch (err) {
      if (this.gone) return;
      if (n === 0)
        console.warn(`turnout: cannot ask ${this.base} for the channel "${this.o.channel}". Is the page's origin listed under its origins?`, err);
      if (!this.face) this.retry = setTimeout(() => void this.ask(n + 1), Math.min(60_000, 4000 * 2 ** n) * (0.5 + Math.random()));
    }
  }

  private show(face: Face): void {
    if (this.gone) return;
    const first = !this.face;
    this.face = face;
    this.paint();
    if (!first) return;
    (document.body ?? document.documentElement).append(this.host);
    this.page.observe(document.documentElement, { attributes: true, attributeFilter: ["class", "style", "data-theme"] });
    this.dark.addEventListener("change", this.paint);
    if (this.o.open) this.open(true);
    // A conversation goes on where it was, also closed: somebody may answer.
    else if (Number(this.shelf.get("live")) > Date.now() || this.shelf.names().some((n) => n.startsWith("out."))) void this.load().catch(() => {});
  }

  private build(): void {
    const svg = (d: string) => {
      const e = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      const p = document.createElementNS("http://www.w3.org/2000/svg", "path");
      p.setAttribute("d", d);
      e.setAttribute("viewBox", "0 0 24 24");
      e.setAttribute("aria-hidden", "true");
      e.append(p);
      return e;
    };
    this.button.className = "launch";
    this.button.type = "button";
    this.badge.className = "badge";
    this.badge.hidden = true;
    this.label(tables[this.wanted[0] ?? ""]?.open ?? labels[(this.wanted[0] ?? "").slice(0, 2)] ?? (labels["en"] as string));
    this.button.setAttribute("aria-haspopup", "dialog");
    this.button.append(svg(chatIcon), this.badge);
    this.button.onclick = () => this.open(true);
    this.trouble.className = "trouble";
    this.trouble.setAttribute("role", "alert");
    this.trouble.hidden = true;
    const anchor = document.createElement("div");
    anchor.className = "anchor";
    anchor.append(this.trouble, this.button);
    this.root.append(anchor);
  }

  private label(text: string): void {
    this.button.setAttribute("aria-label", text);
    this.button.title = text;
  }

  open(focus: boolean): void {
    this.button.setAttribute("aria-busy", "true");
    this.load().then(
      (chat) => {
        this.button.removeAttribute("aria-busy");
        this.trouble.hidden = true;
        if (this.gone) return;
        this.button.hidden = true;
        chat.open();
        emit("open", undefined);
      },
      () => {
        this.button.removeAttribute("aria-busy");
        // Not even the chat's own words are here. The page without scripts may be, and says so by itself.
        const a = document.createElement("a");
        a.href = this.base + (this.face?.page ?? "");
        a.target = "_blank";
        a.rel = "noopener";
        a.textContent = this.base.replace(/^https?:\/\//, "") + (this.face?.page ?? "");
        this.trouble.replaceChildren("The chat could not be loaded. Press again to retry, or open ", a);
        this.trouble.hidden = false;
        if (focus) this.button.focus();
      },
    );
  }

  close(): void {
    this.chat?.close();
  }

  reset(): void {
    if (this.chat) this.chat.reset();
    else for (const name of this.shelf.names()) if (name !== "face") this.shelf.drop(name);
  }

  async identify(): Promise<void> {
    if (!this.loading || !who) return;
    const chat = await this.load();
    await chat.identify(typeof who === "string" ? who : await who());
  }

  load(): Promise<Chat> {
    this.loading ??= this.start().catch((err: unknown) => {
      this.loading = null;
      throw err;
    });
    return this.loading;
  }

  private async start(): Promise<Chat> {
    const part = await fetchPart(`${this.base}/widget/${__CHAT__}`);
    if (this.gone || !this.face) throw new Error("not on the page");
    const stage: Stage = {
      root: this.root,
      base: this.base,
      channel: this.o.channel,
      face: this.face,
      shelf: this.shelf,
      wanted: this.wanted,
      tables,
      style: (text) => this.style(text),
      emit,
      closed: () => {
        this.button.hidden = false;
        this.button.focus();
        emit("close", undefined);
      },
      button: (unread, label) => {
        this.badge.hidden = unread === 0;
        this.badge.textContent = unread > 99 ? "99+" : String(unread);
        this.label(label);
      },
    };
    const chat = await part.start(stage);
    if (this.gone) {
      chat.destroy();
      throw new Error("not on the page");
    }
    this.chat = chat;
    this.paint();
    // What the visitor does meanwhile is theirs all the same: the session stays.
    if (who) queueMicrotask(() => this.identify().catch((err: unknown) => console.warn("turnout: who the visitor is was not taken", err)));
    return chat;
  }

  unmount(): void {
    this.gone = true;
    clearTimeout(this.retry);
    this.page.disconnect();
    this.dark.removeEventListener("change", this.paint);
    this.chat?.destroy();
    this.host.remove();
  }

  private readonly paint = (): void => {
    if (!this.face) return;
    const { theme } = this.face;
    const dark = this.isDark();
    const p: Palette = dark ? theme.dark : theme.light;
    const tokens: Record<string, string> = {
      accent: p.accent,
      on: p.on_accent,
      soft: p.soft,
      bg: p.background,
      radius: `${theme.radius}px`,
      bubble: `${theme.bubble}px`,
      size: `${theme.size}px`,
      font: (theme.font ? theme.font + "," : "") + 'system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","Noto Sans Arabic",Arial,sans-serif',
    };
    for (const [name, value] of Object.entries(tokens)) this.host.style.setProperty(`--tw-${name}`, value);
    this.chat?.dark(dark);
  };

  /** Dark follows the page: what it says of itself, else the system where the page follows it too. */
  private isDark(): boolean {
    if (this.o.scheme === "dark" || this.o.scheme === "light") return this.o.scheme === "dark";
    const html = document.documentElement;
    const said = html.dataset["theme"] ?? (html.classList.contains("dark") ? "dark" : "");
    if (said === "dark" || said === "light") return said === "dark";
    const schemes = getComputedStyle(html).colorScheme;
    return schemes.includes("dark") && (!schemes.includes("light") || this.dark.matches);
  }

  /** Constructed sheets need no permission from the page's policy; old browsers get an element, with the page's nonce. */
  private style(text: string): void {
    try {
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(text);
      this.root.adoptedStyleSheets = [...this.root.adoptedStyleSheets, sheet];
    } catch {
      const element = document.createElement("style");
      if (this.o.nonce) element.nonce = this.o.nonce;
      element.textContent = text;
      this.root.append(element);
    }
  }
}

/** Loads a module. A browser remembers that one failed to load, so the second try has another address. */
let tries = 0;
function fetchPart(url: string): Promise<Part> {
  const again = tries ? `?${tries}` : "";
  return (import(/* @vite-ignore */ url + again) as Promise<Part>).catch((err: unknown) => {
    tries++;
    throw err;
  });
}

function emit<K extends keyof Happenings>(name: K, what: Happenings[K]): void {
  for (const listener of listeners.get(name) ?? []) {
    try {
      (listener as (w: Happenings[K]) => void)(what);
    } catch (err) {
      console.error(err); // the page's own trouble is not the chat's
    }
  }
}

const wish = script?.dataset["channel"];
const options: Options | null = wish
  ? {
      channel: wish,
      lang: script?.dataset["lang"],
      scheme: script?.dataset["scheme"] as Options["scheme"],
      open: script?.dataset["open"] !== undefined,
    }
  : null;
// A page that runs the tag twice has one chat.
const self = known?.version ? known : ((window as unknown as { turnout: typeof api }).turnout = api);
if (options) {
  if (document.body) self.mount(options);
  else addEventListener("DOMContentLoaded", () => self.mount(options), { once: true });
}
