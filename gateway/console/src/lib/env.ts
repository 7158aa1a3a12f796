// What the app needs of the world around it. Tests bring their own.

export interface Socket {
  send(data: string): void;
  close(code?: number): void;
  onopen: (() => void) | null;
  onmessage: ((e: { data: unknown }) => void) | null;
  onclose: ((e: { code: number }) => void) | null;
}

export interface Storage {
  readonly length: number;
  key(i: number): string | null;
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

export interface Answer {
  status: number;
  retryAfter: number; // seconds, 0: not said
  body: unknown;
}

export interface Env {
  /** Sends a request to the server that the page came from. It throws when there is no answer. */
  request(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>;
  socket(path: string): Socket;
  /** Milliseconds since 1970 by this device's clock, which may be wrong. */
  now(): number;
  /** Milliseconds that only ever grow. */
  ticks(): number;
  after(ms: number, run: () => void): () => void;
  storage: Storage;
  /** A key that nobody else makes. */
  unique(): string;
}

/** Tells those who listen that something changed. */
export class Source {
  private readonly listeners = new Set<() => void>();

  on(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  changed(): void {
    for (const listener of [...this.listeners]) listener();
  }
}
