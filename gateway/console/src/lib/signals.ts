import type { Event, Scores } from "./wire.ts";

export interface Course {
  name: keyof Scores;
  values: number[];
  last: number;
}

const shown: (keyof Scores)[] = ["human_request", "frustration", "repeat"];
const most = 24;

/** How the signals of the customer's messages went, the newest last. What never stirred is left out. */
export function courses(events: readonly Event[]): Course[] {
  const messages = events.filter((e) => e.type === "message.received" && e.message).slice(-most);
  return shown
    .map((name) => {
      const values = messages.map((e) => e.message?.scores?.[name] ?? 0);
      return { name, values, last: values.at(-1) ?? 0 };
    })
    .filter((c) => c.values.some((v) => v > 0));
}

/** The handoff that brought the conversation here, with its decision. */
export function lastHandoff(events: readonly Event[]) {
  for (let i = events.length - 1; i >= 0; i--) {
    const h = events[i]!.handoff;
    if (!h) continue;
    for (let j = i - 1; j >= 0 && j >= i - 8; j--) {
      const d = events[j]!.decision;
      if (d?.kind === "handoff" && d.rule === h.rule) return { handoff: h, decision: d, at: events[i]!.at };
    }
    return { handoff: h, decision: undefined, at: events[i]!.at };
  }
  return undefined;
}
