import { Api, Refused } from "./api.ts";
import type { Env } from "./env.ts";
import type { Me, Presence } from "./wire.ts";

type Self = Me & { presence?: Presence };

/** Who is signed in by the cookie of an earlier time; undefined: nobody. It throws when the server cannot be asked. */
export async function whoIsHere(env: Env): Promise<Self | undefined> {
  try {
    return await new Api(env).get<Self>("/v1/agent/me");
  } catch (e) {
    if (e instanceof Refused && (e.status === 401 || e.status === 403)) return undefined;
    throw e;
  }
}

/** Signs in by password; the session is the cookie that comes with the answer, which no script can read. */
export async function signIn(env: Env, login: string, password: string, tenant: string): Promise<Me> {
  const a = await new Api(env).post<{ me: Me }>("/v1/agent/login", { login, password, ...(tenant ? { tenant } : {}) });
  return a.me;
}

export async function signOut(env: Env): Promise<void> {
  await new Api(env).post("/v1/agent/logout");
}
