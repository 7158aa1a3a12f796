import type { Env } from "./env.ts";

/** The server said no. code is for programs, message for people. */
export class Refused extends Error {
  readonly status: number;
  readonly code: string;
  /** Who was quicker, of already_claimed. */
  readonly winner: string;
  readonly retryAfter: number;

  constructor(status: number, code: string, detail: string, winner = "", retryAfter = 0) {
    super(detail);
    this.status = status;
    this.code = code;
    this.winner = winner;
    this.retryAfter = retryAfter;
  }

  /** Whether the same request may get through later: nothing is known to be wrong with it. */
  get passing(): boolean {
    return this.status === 429 || this.status === 503 || this.status >= 500;
  }
}

/** Whether the server says that there was a conversation, and that all that was said in it is destroyed. */
export const isErased = (e: unknown): boolean => e instanceof Refused && e.code === "erased";

/** There was no answer: what became of the request is not known. */
export class Unreachable extends Error {}

export class Api {
  /** Called when the sign-in has ended. */
  onSignedOut: () => void = () => {};
  private readonly env: Env;

  constructor(env: Env) {
    this.env = env;
  }

  async call<T>(method: string, path: string, body?: unknown, key?: string): Promise<T> {
    let answer;
    try {
      answer = await this.env.request(method, path, body, key ? { "Idempotency-Key": key } : undefined);
    } catch {
      throw new Unreachable("No answer from the server.");
    }
    if (answer.status >= 200 && answer.status < 300) return answer.body as T;
    const p = (answer.body ?? {}) as { code?: string; detail?: string; winner?: { name?: string; agent?: string } };
    const refused = new Refused(
      answer.status, p.code ?? "", p.detail ?? `The server answered ${answer.status}.`,
      p.winner?.name || p.winner?.agent || "", answer.retryAfter,
    );
    if (refused.status === 401 && path !== "/v1/agent/login") this.onSignedOut();
    throw refused;
  }

  get<T>(path: string): Promise<T> {
    return this.call<T>("GET", path);
  }

  /** key makes the request safe to repeat. */
  post<T>(path: string, body?: unknown, key?: string): Promise<T> {
    return this.call<T>("POST", path, body ?? {}, key);
  }
}

export const conversationPath = (id: string) => `/v1/agent/conversations/${encodeURIComponent(id)}`;
