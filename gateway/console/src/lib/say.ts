// How things are put into words.
import type { Row } from "./wire.ts";

/** A running time: "0:42", "11:20", "3:05:00". */
export function running(ms: number): string {
  const s = Math.max(0, Math.floor(ms / 1000));
  const h = Math.floor(s / 3600), m = Math.floor((s % 3600) / 60), r = String(s % 60).padStart(2, "0");
  if (h >= 24) return `${Math.floor(h / 24)} d ${h % 24} h`;
  return h ? `${h}:${String(m).padStart(2, "0")}:${r}` : `${m}:${r}`;
}

const time = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: "short", hour: "2-digit", minute: "2-digit" });
const date = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const longDate = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const dated = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });

const dayDistance = (ms: number, now: number) =>
  Math.round((new Date(now).setHours(0, 0, 0, 0) - new Date(ms).setHours(0, 0, 0, 0)) / 86_400_000);

export const timeOf = (ms: number) => time.format(ms);

export function dayWord(ms: number, now: number): string {
  const d = dayDistance(ms, now);
  return d === 0 ? "Today" : d === 1 ? "Yesterday" : d > 1 && d < 7 ? longDate.format(ms) : dated.format(ms);
}

/** An instant that is a fact: as much of it as is needed to tell it. */
export function when(ms: number, now: number): string {
  const d = Math.abs(dayDistance(ms, now));
  return d === 0 ? time.format(ms) : d < 7 ? weekday.format(ms) : date.format(ms);
}

/** How old something is, in as few words as tell it. */
export function ageWord(ms: number, now: number): string {
  const m = Math.floor(Math.max(0, now - ms) / 60_000);
  if (m < 1) return "just now";
  if (m < 60) return m === 1 ? "a minute old" : `${m} minutes old`;
  const h = Math.floor(m / 60);
  if (h < 48) return h === 1 ? "an hour old" : `${h} hours old`;
  return `${Math.floor(h / 24)} days old`;
}

export function sinceWord(ms: number, now: number): string {
  return new Date(ms).getFullYear() === new Date(now).getFullYear() ? date.format(ms) : String(new Date(ms).getFullYear());
}

const signals: Record<string, string> = {
  human_request: "wants a person", frustration: "frustration", repeat: "says it again",
  bot_fallback: "bot did not understand", bot_repeat: "bot repeats itself",
};

export const signalWord = (name: string) => signals[name] ?? name.replaceAll("_", " ");

const rules: Record<string, string> = {
  "builtin.human_request": "asked for a person", "builtin.talk_to_a_person": "pressed “Talk to a person”",
  "builtin.bot_request": "the bot asked for a person", "builtin.bot_down": "the bot does not answer",
  "builtin.locked_rule_failed": "a locked rule failed", "builtin.reopen": "wrote again", "builtin.opening": "the queue opened",
};

/** What stands for a rule that is built in; undefined for one of the tenant's. */
export const builtinRule = (rule: string) => rules[rule];

export function size(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  if (bytes < 1e6) return `${Math.round(bytes / 1000)} KB`;
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

export function initials(name: string): string {
  const words = name.trim().split(/\s+/);
  return ((words[0]?.[0] ?? "") + (words.length > 1 ? (words.at(-1)?.[0] ?? "") : "")).toUpperCase() || "?";
}

/** The channel's own name: "shop.web" is "web". */
export const channelWord = (channel: string) => channel.slice(channel.indexOf(".") + 1);

export const firstName = (name: string) => (name.startsWith("Visitor ") ? name : (name.split(/\s+/)[0] ?? name));

export interface Left {
  /** Milliseconds; 0: it is over. */
  ms: number;
  text: string;
  late: boolean;
}

/** How long a reply is taken yet: hours while there are more than two, then minutes; late in the last hour. */
export function windowLeft(until: string | undefined, now: number): Left | undefined {
  const end = Date.parse(until ?? "");
  if (Number.isNaN(end)) return undefined;
  const ms = Math.max(0, end - now);
  const m = Math.ceil(ms / 60_000);
  const text = ms === 0 ? "Reply time over" : m > 120 ? `${Math.floor(m / 60)} h to reply` : `${m} min to reply`;
  return { ms, text, late: ms <= 3_600_000 };
}

/** Whether a row is one that must not wait. */
export const pressing = (r: Row) => (r.priority ?? 0) >= 9 || !!r.must_reach_human;

export const fieldWord = (name: string) => {
  const s = name.replaceAll("_", " ");
  return s.charAt(0).toUpperCase() + s.slice(1);
};

export function fieldValue(v: unknown): string {
  if (typeof v === "boolean") return v ? "yes" : "no";
  if (typeof v === "number") return new Intl.NumberFormat().format(v);
  return String(v);
}

/** A text cut into words and links, so that no markup is ever made of what somebody wrote. */
export function linked(text: string): { text: string; href?: string }[] {
  const out: { text: string; href?: string }[] = [];
  let at = 0;
  for (const m of text.matchAll(/https?:\/\/[^\s<>"']+[^\s<>"'.,;:!?)\]}]/g)) {
    let href: string;
    try {
      href = new URL(m[0]).href;
    } catch {
      continue;
    }
    if (m.index > at) out.push({ text: text.slice(at, m.index) });
    out.push({ text: m[0], href });
    at = m.index + m[0].length;
  }
  if (at < text.length) out.push({ text: text.slice(at) });
  return out;
}
