import type { Shelf } from "./shelf.ts";
import type { SessionAnswer } from "./wire.ts";

/** What a visitor is known by. */
export interface Session {
  token: string;
  visitor: string;
  /** Milliseconds since 1970. */
  issued: number;
  expires: number;
}

/** An answer of the channel; body is what it held if it was JSON. */
export interface Reply {
  status: number;
  body: Record<string, unknown>;
  /** What Retry-After asks for, in milliseconds. */
  after: number;
}

/** Sends a JSON body to a path of the channel. It rejects only when there is no answer. */
export type Post = (path: string, body: object, token?: string) => Promise<Reply>;

/** The server said no, with one of the codes of its problem documents. */
export class Refused extends Error {
  constructor(
    readonly code: string,
    readonly after = 0,
  ) {
    super(code);
  }
}

const name = "session";

/**
 * Sessions keeps the visitor's token on the shelf. All tabs of a browser are one visitor: the first that needs a token
 * gets one while the others wait for it.
 */
export class Sessions {
  constructor(
    private readonly shelf: Shelf,
    private readonly post: Post,
    private readonly now: () => number,
    private readonly lock: <T>(name: string, act: () => Promise<T>) => Promise<T>,
    private readonly lang: string,
  ) {}

  /** The session that is there, even one that has run out; null for none. */
  known(): Session | null {
    try {
      const s = JSON.parse(this.shelf.get(name) ?? "") as Session;
      return s.token && s.expires ? s : null;
    } catch {
      return null;
    }
  }

  /** A session that can be used: the known one, renewed after half its life, or a new one. Rejects with Refused, or what post rejects with. */
  async ensure(): Promise<Session> {
    const known = this.known();
    if (known && !this.old(known)) return known;
    return this.lock(name, async () => {
      const there = this.known();
      if (there && !this.old(there)) return there;
      // Whether a token has run out is the server's to say: the clock of a visitor may be years away.
      return this.ask({ token: there?.token });
    });
  }

  /** Has the tenant's site vouch for the visitor. The session stays, unless the identity is another person's. */
  identify(identity: string): Promise<Session> {
    return this.lock(name, () => this.ask({ identity, token: this.known()?.token }));
  }

  forget(): void {
    this.shelf.drop(name);
  }

  private old(s: Session): boolean {
    return this.now() > (s.issued + s.expires) / 2;
  }

  private async ask(body: { token?: string; identity?: string }, before = body.token): Promise<Session> {
    const reply = await this.post("/session", { ...body, lang: this.lang });
    // The token has run out, or is from before the server got another key: it speaks for nobody any more.
    if (reply.status === 401 && body.token) return this.ask({ identity: body.identity }, before);
    if (reply.status !== 200) throw new Refused(String(reply.body["code"] ?? reply.status), reply.after);
    // Tabs live in processes of their own, and what one writes comes to the others a little later than the lock does.
    // The first session counts; a second one would leave each tab with the other's.
    const there = this.known();
    if (!body.identity && there && there.token !== before && !this.old(there)) return there;
    const answer = reply.body as unknown as SessionAnswer;
    const session = { token: answer.token, visitor: answer.visitor, issued: this.now(), expires: Date.parse(answer.expires_at) };
    this.shelf.set(name, JSON.stringify(session));
    return session;
  }
}
