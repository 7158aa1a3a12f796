// The chat: what the loader loads when there is something to talk about.
import css from "./widget.css?inline";
import { Engine, type World } from "./engine.ts";
import { type OpenLink, type Link, socketLink } from "./link.ts";
import type { Reply } from "./session.ts";
import type { Chat, Stage } from "./stage.ts";
import { choose, en, speech, type Strings } from "./strings.ts";
import { View } from "./view.ts";

const minute = 60_000;

const languages: Record<string, () => Promise<Partial<Strings>>> = {
  en: async () => en,
  es: async () => (await import("./lang/es.ts")).es,
};

export async function start(stage: Stage): Promise<Chat> {
  const tag = choose(stage.wanted, [...Object.keys(stage.tables), ...Object.keys(languages)]);
  // Without its table a language is still better than none.
  const shipped = await (languages[tag] ?? languages[tag.split("-")[0] ?? ""])?.().catch(() => ({}));
  const words = speech(tag, { ...shipped, ...stage.tables[tag] });
  const url = `${stage.base}/v1/web/${stage.channel}`;

  let view: View | null = null;
  const engine = new Engine(world(stage, url), url, tag, (fresh) => {
    const owner = engine.thread.owner.kind;
    // Until when the loader should come back to this conversation by itself, on later pages: people may answer after days,
    // a bot does at once.
    const last = engine.thread.events.at(-1);
    const stays = owner === "bot" ? 30 * minute : 7 * 24 * 60 * minute;
    if (last && owner !== "closed") stage.shelf.set("live", String(Date.parse(last.at) + stays));
    else if (engine.current) stage.shelf.drop("live");
    if (fresh && engine.current) {
      if (fresh.type === "owner" && fresh.owner) stage.emit("owner", { kind: fresh.owner.kind, name: fresh.owner.name });
      if (fresh.by && fresh.by !== "customer") stage.emit("message", { by: fresh.by, text: fresh.part?.text ?? "" });
    }
    view?.changed();
  });
  stage.style(css);
  view = new View(stage, engine, words, url);

  const online = () => engine.hurry();
  const offline = () => engine.lost();
  const shown = () => {
    if (document.visibilityState === "visible") engine.hurry();
    view?.looked();
  };
  addEventListener("online", online);
  addEventListener("offline", offline);
  document.addEventListener("visibilitychange", shown);
  engine.start();

  return {
    open: () => view?.open(),
    close: () => view?.close(),
    dark: (on) => view?.dark(on),
    identify: (statement) => engine.identify(statement),
    reset: () => {
      engine.reset();
      stage.shelf.drop("live");
      view?.clear();
    },
    destroy() {
      removeEventListener("online", online);
      removeEventListener("offline", offline);
      document.removeEventListener("visibilitychange", shown);
      engine.stop();
      view?.destroy();
    },
  };
}

function world(stage: Stage, url: string): World {
  return {
    now: () => Date.now(),
    after(ms, act) {
      const timer = setTimeout(act, ms);
      return () => clearTimeout(timer);
    },
    random: () => Math.random(),
    id: () => Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(36).padStart(7, "0")).join(""),
    online: () => navigator.onLine,
    // Locks exist on secure pages only. Without them two tabs that begin in the same instant are two visitors for that
    // instant: the second takes over the first one's session before it has said anything.
    lock: (name, act) => (navigator.locks ? (navigator.locks.request(`turnout.${stage.channel}.${name}`, act) as ReturnType<typeof act>) : act()),
    post: (path, body, token) => post(url + path, body, token),
    shelf: stage.shelf,
    links: [socketLink, late(() => import("./stream.ts").then((m) => m.streamLink))],
  };
}

async function post(url: string, body: object, token?: string): Promise<Reply> {
  const answer = await fetch(url, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...(token ? { Authorization: `Bearer ${token}` } : {}) },
    body: JSON.stringify(body),
    credentials: "omit",
    keepalive: false,
  });
  return {
    status: answer.status,
    body: (await answer.json().catch(() => ({}))) as Record<string, unknown>,
    after: 1000 * Number(answer.headers.get("Retry-After") ?? 0),
  };
}

/** A link whose code is loaded when it is needed. */
function late(load: () => Promise<OpenLink>): OpenLink {
  return (target, hooks) => {
    let link: Link | null = null;
    let over = false;
    load().then(
      (open) => {
        if (!over) link = open(target, hooks);
      },
      () => !over && hooks.closed({}),
    );
    return {
      send: (frame) => link?.send(frame),
      close() {
        over = true;
        link?.close();
      },
    };
  };
}
