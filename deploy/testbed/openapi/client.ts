// A client written against the generated types: it compiles only while the document says what the API does.
import type { paths, components } from "./api";

type Answer<P extends keyof paths, M extends keyof paths[P], S extends number> =
  paths[P][M] extends { responses: Record<S, { content: { "application/json": infer A } }> } ? A : never;
type Body<P extends keyof paths, M extends keyof paths[P]> =
  paths[P][M] extends { requestBody?: { content: { "application/json": infer B } } } ? B : never;

const reply: Body<"/v1/agent/conversations/{id}/reply", "post"> = { text: "Good morning", hold: 5 };
// @ts-expect-error a field that the API does not take
const wrong: Body<"/v1/agent/conversations/{id}/reply", "post"> = { txt: "Good morning" };

export function line(result: Answer<"/v1/agent/conversations/{id}/reply", "post", 200>): string {
  return `${result.conversation} ${result.owner.kind} ${result.seq} ${result.message ?? ""}`;
}

export function who(me: Answer<"/v1/agent/me", "get", 200>): string {
  const role: string = me.role;
  return `${me.name} (${role}) of ${me.tenant}, ${me.presence.load} of ${me.capacity}`;
}

export function problem(p: components["schemas"]["Details"]): string {
  return `${p.status} ${p.code}: ${p.detail ?? p.title}`;
}

export const bodies = [reply, wrong];
