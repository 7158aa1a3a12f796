import { Clock } from "./clock.ts";
import type { Env, Socket } from "./env.ts";
import type { Frame } from "./wire.ts";

export type LinkState = "connecting" | "live" | "offline";

const pingEvery = 4_000;
const silence = 12_000; // without any frame: the line is dead
const firstWait = 500;
const longestWait = 15_000;

/**
 * The one WebSocket. It comes back by itself, and with the cursor that it had: what happened meanwhile comes then. Whoever
 * follows a conversation says so again at each onready, with the last event that it has.
 */
export class Link {
  state: LinkState = "connecting";
  /** When the line was lost, by the device's clock; 0 while it is there. */
  lostAt = 0;
  readonly clock: Clock;
  onstate: () => void = () => {};
  onready: () => void = () => {};
  onframe: (f: Frame) => void = () => {};
  /** The server does not know the sign-in any more. */
  onexpired: () => void = () => {};

  private readonly env: Env;
  private socket: Socket | null = null;
  private cursor = "";
  private wait = firstWait;
  private readonly timers = new Set<() => void>();
  private stopped = true;
  private heard = 0;

  constructor(env: Env) {
    this.env = env;
    this.clock = new Clock(env);
  }

  start(): void {
    if (!this.stopped) return;
    this.stopped = false;
    this.wait = firstWait;
    this.open();
  }

  stop(): void {
    this.stopped = true;
    this.drop(1000);
  }

  /** The network may be back, or the page is looked at again: do not wait for the next attempt. */
  nudge(): void {
    if (this.stopped || this.state === "live") return;
    this.drop();
    this.open();
  }

  /** Sends a frame, or returns false: what a lost frame would have done is done again after onready. */
  send(f: object): boolean {
    if (this.state !== "live" || !this.socket) return false;
    try {
      this.socket.send(JSON.stringify(f));
      return true;
    } catch {
      return false;
    }
  }

  private open(): void {
    this.clear();
    let socket: Socket;
    try {
      socket = this.env.socket("/v1/agent/socket");
    } catch {
      this.again();
      return;
    }
    this.socket = socket;
    this.heard = this.env.ticks();
    this.watch(socket);
    socket.onopen = () => {
      this.clock.ping();
      socket.send(JSON.stringify(this.cursor ? { type: "hello", cursor: this.cursor } : { type: "hello" }));
    };
    socket.onmessage = (e) => {
      if (this.socket !== socket || typeof e.data !== "string") return;
      this.heard = this.env.ticks();
      this.receive(JSON.parse(e.data) as Frame);
    };
    socket.onclose = (e) => {
      if (this.socket !== socket) return;
      this.socket = null;
      this.clear();
      if (e.code === 4001) {
        this.stop();
        this.onexpired();
        return;
      }
      this.again();
    };
  }

  private receive(f: Frame): void {
    if (f.cursor) this.cursor = f.cursor;
    if (f.type === "ready") {
      this.clock.pong(f.now);
      this.wait = firstWait;
      this.lostAt = 0;
      this.set("live");
      this.ping();
      this.onframe(f);
      this.onready();
      return;
    }
    if (f.type === "pong") this.clock.pong(f.now);
    // Before ready an error says why there is no socket.
    if (f.type === "error" && f.code === "unauthenticated" && this.state !== "live") {
      this.stop();
      this.onexpired();
      return;
    }
    this.onframe(f);
  }

  private ping(): void {
    this.later(pingEvery, () => {
      this.clock.ping();
      this.send({ type: "ping" });
      this.ping();
    });
  }

  /** A line that was cut without a word is noticed by its silence. */
  private watch(socket: Socket): void {
    this.later(1000, () => {
      if (this.socket !== socket) return;
      if (this.env.ticks() - this.heard > silence) {
        this.drop();
        this.again();
        return;
      }
      this.watch(socket);
    });
  }

  private again(): void {
    if (this.stopped) return;
    if (this.lostAt === 0) this.lostAt = this.env.now();
    this.set("offline");
    const wait = this.wait * (0.75 + Math.random() / 2); // not all at once after a restart
    this.wait = Math.min(this.wait * 2, longestWait);
    this.later(wait, () => this.open());
  }

  private drop(code?: number): void {
    const socket = this.socket;
    this.socket = null;
    this.clear();
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      try {
        socket.close(code);
      } catch {
        // it was never open
      }
    }
  }

  private set(state: LinkState): void {
    if (this.state === state) return;
    this.state = state;
    this.onstate();
  }

  private later(ms: number, run: () => void): void {
    const cancel = this.env.after(ms, () => {
      this.timers.delete(cancel);
      run();
    });
    this.timers.add(cancel);
  }

  private clear(): void {
    for (const cancel of this.timers) cancel();
    this.timers.clear();
  }
}
