import { h, icon, icons } from "./dom.ts";
import type { Speech } from "./strings.ts";

/** Stops between the customer and a person: each is one who is ahead, as many as can be told apart at a glance. */
const mostStops = 4;

/** Draws who is waited for and where one stands, and nothing that is not known. */
export function drawWaiting(words: Speech, kind: "queued" | "captured", place: number, since: string): HTMLElement[] {
  const w = words.words;
  const joined = since ? [h("p", { class: "tw-ll" }, words.say(w.since, { time: words.time(since) }))] : [];
  if (kind === "captured") return [h("h3", {}, w.kept), h("p", {}, w.keptLong), ...joined];
  const heading = place === 1 ? w.next : place > 1 ? words.count(w.place, place, "ordinal") : w.queue;
  const line = h("div", { class: "tw-line", "aria-hidden": "true" }, h("i", { class: "you" }, place > 0 ? String(place) : ""));
  for (let i = 0; i < Math.min(place - 1, mostStops); i++) line.append(h("i"));
  line.append(h("i", { class: "end" }, icon(icons.people, 20, "flip")));
  return [h("h3", {}, heading), h("p", {}, w.keep), line, ...joined];
}
