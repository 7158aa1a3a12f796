import type { Answer, Env, Socket, Storage } from "./env.ts";

const patience = 15_000; // for one answer

/** The world as a browser has it. The API is beside the console: where a proxy puts one, it puts the other. */
export function browser(): Env {
  const root = new URL("..", location.href.replace(/[?#].*$/, ""));
  const at = (path: string) => new URL(path.replace(/^\//, ""), root);
  return {
    async request(method, path, body, headers): Promise<Answer> {
      const res = await fetch(at(path), {
        method,
        headers: { ...(body === undefined ? {} : { "Content-Type": "application/json" }), ...headers },
        body: body === undefined ? undefined : JSON.stringify(body),
        cache: "no-store",
        credentials: "same-origin",
        signal: AbortSignal.timeout(patience),
      });
      const text = await res.text();
      let parsed: unknown;
      try {
        parsed = text ? JSON.parse(text) : undefined;
      } catch {
        parsed = undefined; // a proxy's own page
      }
      return { status: res.status, retryAfter: Number(res.headers.get("Retry-After")) || 0, body: parsed };
    },
    socket(path): Socket {
      const url = at(path);
      url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
      return new WebSocket(url) as unknown as Socket;
    },
    now: () => Date.now(),
    ticks: () => performance.now(),
    after(ms, run) {
      const id = setTimeout(run, ms);
      return () => clearTimeout(id);
    },
    storage: storage(),
    unique: () => (crypto.randomUUID ? crypto.randomUUID() : random()),
  };
}

/** The storage of the device, or one that lasts as long as the page where there is none. */
function storage(): Storage {
  try {
    localStorage.setItem("turnout/try", "1");
    localStorage.removeItem("turnout/try");
    return localStorage;
  } catch {
    const kept = new Map<string, string>();
    return {
      get length() { return kept.size; },
      key: (i) => [...kept.keys()][i] ?? null,
      getItem: (k) => kept.get(k) ?? null,
      setItem: (k, v) => void kept.set(k, v),
      removeItem: (k) => void kept.delete(k),
    };
  }
}

/** Without TLS, away from loopback, browsers give no randomUUID. */
function random(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
}

/** Where an attachment of a conversation is. */
export const fileHref = (conversation: string, id: string) =>
  `../v1/agent/conversations/${encodeURIComponent(conversation)}/attachments/${encodeURIComponent(id)}`;
