import type { Env } from "./env.ts";

/** After this long without a measure the server's time is not known any more. */
export const unsureAfter = 10_000;

/**
 * The server's clock, as measured: an answer to a ping was made somewhere between its sending and its coming, and the
 * quickest of the last answers says it best. It counts by ticks, so a change of the device's clock does not move it.
 */
export class Clock {
  private readonly env: Env;
  private samples: { offset: number; error: number }[] = [];
  private measured = -Infinity;
  private sent = -1;

  constructor(env: Env) {
    this.env = env;
  }

  /** A ping leaves. */
  ping(): void {
    this.sent = this.env.ticks();
  }

  /** Its answer came; now is the server's time in it. */
  pong(now: string | undefined): void {
    const server = now ? Date.parse(now) : NaN;
    if (this.sent < 0 || Number.isNaN(server)) return;
    const came = this.env.ticks();
    const error = (came - this.sent) / 2;
    this.samples = [...this.samples, { offset: server + error - came, error }].slice(-8);
    this.measured = came;
    this.sent = -1;
  }

  /** Whether the server's time has not been heard of for too long. */
  get unsure(): boolean {
    return this.env.ticks() - this.measured > unsureAfter;
  }

  /** The server's time in milliseconds since 1970; before the first measure the device's. */
  now(): number {
    let best = this.samples[0];
    for (const s of this.samples) if (s.error <= best!.error) best = s;
    return best ? this.env.ticks() + best.offset : this.env.now();
  }
}
