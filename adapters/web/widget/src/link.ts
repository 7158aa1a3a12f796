import type { Incoming, Outgoing } from "./wire.ts";

/** What a link tells about itself. After closed it says nothing more. */
export interface Hooks {
  frame(frame: Incoming): void;
  /** The link is gone. after is a wait that the server asked for in milliseconds; expired: the token is worth nothing. */
  closed(reason: { after?: number; expired?: boolean; restart?: boolean }): void;
}

/** A way to the channel and back. */
export interface Link {
  send(frame: Outgoing | { type: "ping" }): void;
  /** Ends it without a word to the hooks. */
  close(): void;
}

export interface Target {
  /** The channel's address: https://host/v1/web/CHANNEL */
  url: string;
  token: string;
  /** The cursor to go on from; empty: from the start. */
  after: string;
}

export type OpenLink = (target: Target, hooks: Hooks) => Link;

/** A socket that says nothing for this long, a ping's answer included, is dead, whatever the browser thinks. */
const silence = 45_000;
const pingEvery = 20_000;
const openWithin = 10_000;

/** The link of choice: one WebSocket, so that many tabs do not use up a browser's few connections to a host. */
export const socketLink: OpenLink = (target, hooks) => {
  const socket = new WebSocket(target.url.replace(/^http/, "ws") + "/socket");
  let over = false;
  let timer = setTimeout(() => end({}), openWithin);
  const ping = setInterval(() => socket.readyState === WebSocket.OPEN && socket.send('{"type":"ping"}'), pingEvery);

  function end(reason: Parameters<Hooks["closed"]>[0] | null) {
    if (over) return;
    over = true;
    clearTimeout(timer);
    clearInterval(ping);
    socket.close();
    if (reason) hooks.closed(reason);
  }
  function alive() {
    clearTimeout(timer);
    timer = setTimeout(() => end({}), silence);
  }
  socket.onopen = () => socket.send(JSON.stringify({ type: "hello", token: target.token, after: target.after }));
  socket.onmessage = (e) => {
    if (over) return;
    alive();
    hooks.frame(JSON.parse(String(e.data)) as Incoming);
  };
  socket.onclose = (e) => end({ expired: e.code === 4001, restart: e.code === 1012, after: e.code === 1013 ? 5000 : 0 });
  return {
    send: (frame) => socket.readyState === WebSocket.OPEN && socket.send(JSON.stringify(frame)),
    close: () => end(null),
  };
};
