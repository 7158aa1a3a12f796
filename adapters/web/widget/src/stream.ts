// The link for networks that let no WebSocket through: an event stream to read, requests to write. It is loaded only
// when sockets have failed.
import type { Hooks, OpenLink } from "./link.ts";
import type { Incoming, Outgoing, SessionAnswer, Visible } from "./wire.ts";

const silence = 45_000; // the server sends something every 15 seconds

export const streamLink: OpenLink = (target, hooks) => {
  const abort = new AbortController();
  const bearer = { Authorization: `Bearer ${target.token}` };
  let over = false;
  let timer: ReturnType<typeof setTimeout> | undefined;

  function end(reason: Parameters<Hooks["closed"]>[0] | null) {
    if (over) return;
    over = true;
    clearTimeout(timer);
    abort.abort();
    if (reason) hooks.closed(reason);
  }
  function alive() {
    clearTimeout(timer);
    timer = setTimeout(() => end({}), silence);
  }
  const post = (path: string, body: object) =>
    fetch(target.url + path, {
      method: "POST",
      headers: { ...bearer, "Content-Type": "application/json" },
      body: JSON.stringify(body),
      signal: abort.signal,
      credentials: "omit",
    });

  async function read() {
    alive();
    // The end of the conversation, so that it is known when everything old has come.
    const session = await post("/session", { token: target.token });
    if (session.status === 401) return end({ expired: true });
    const known = (await session.json()) as SessionAnswer;
    const answer = await fetch(`${target.url}/events?after=${encodeURIComponent(target.after)}`, {
      headers: bearer,
      signal: abort.signal,
      credentials: "omit",
      cache: "no-store",
    });
    if (answer.status === 404) {
      hooks.frame({ type: "error", code: "not_found" });
      return end({});
    }
    if (!answer.ok || !answer.body) return end({ after: 1000 * Number(answer.headers.get("Retry-After") ?? 0) });
    hooks.frame({ type: "ready", owner: known.owner, cursor: target.after, end: known.cursor });
    const chunks = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await chunks.read();
      if (done || over) return end({ restart: true });
      alive();
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop() ?? "";
      for (const block of blocks) emit(block);
    }
  }

  function emit(block: string) {
    const field = (name: string) => new RegExp(`^${name}: (.*)$`, "m").exec(block)?.[1] ?? "";
    const data = field("data");
    if (!data || over) return;
    const value: unknown = JSON.parse(data);
    const cursor = field("id");
    hooks.frame(cursor ? { type: "event", cursor, event: value as Visible } : (value as Incoming));
  }

  async function send(frame: Outgoing | { type: "ping" }) {
    switch (frame.type) {
      case "ping":
        return;
      case "typing":
        return post("/observe", { typing: frame.on });
      case "read":
        return post("/observe", { read: frame.cursor });
    }
    const answer = await post(frame.type === "human" ? "/human" : "/messages", { ...frame, wait: false });
    const body = (await answer.json()) as { cursor?: string; code?: string };
    if (over) return;
    if (answer.ok) return hooks.frame({ type: "accepted", id: frame.id, cursor: body.cursor });
    if (answer.status === 401) return end({ expired: true });
    hooks.frame({ type: "error", id: frame.id, code: body.code ?? "", retry_after: Number(answer.headers.get("Retry-After") ?? 0) });
  }

  read().catch(() => end({}));
  return { send: (frame) => void send(frame).catch(() => end({})), close: () => end(null) };
};
