import assert from "node:assert/strict";
import { test } from "node:test";
import { foldThread, span, type Around, type Item } from "../src/lib/thread.ts";
import { ageWord } from "../src/lib/say.ts";
import type { Event, Owner } from "../src/lib/wire.ts";

const owner = (kind: Owner["kind"], more: Partial<Owner> = {}): Owner => ({ kind, ...more });
const robin = owner("agent", { agent: "robin", name: "Robin" });

let seq = 0;
const at = (n: number) => new Date(Date.UTC(2026, 4, 4, 9, 0, n)).toISOString();
function ev(type: string, more: Partial<Event> = {}): Event {
  seq++;
  return { seq, at: at(seq), type, actor: { kind: "system" }, epoch: { n: 1, op: "a" }, ...more };
}
const said = (text: string) => ev("message.received", { message: { id: `m${seq}`, by: "customer", text } });
const bot = (text: string, id = `b${seq}`) => ev("message.sent", { actor: { kind: "bot" }, message: { id, by: "bot", text } });
const moved = (from: Owner, to: Owner, reason: string, more: Partial<NonNullable<Event["owner"]>> = {}) =>
  ev("owner.changed", { actor: { kind: "agent", id: "robin" }, owner: { from, to, reason, ...more } });

const around = (o: Owner, more: Partial<Around> = {}): Around => ({ me: "robin", owner: o, name: (id) => id, sends: [], readUpTo: 0, signal: (n) => n, ...more });
const fresh = <T>(make: () => T): T => { seq = 0; return make(); };
const kinds = (items: Item[]) => items.map((i) => i.kind);

test("the line follows the owner and never the speaker", () => {
  const events = fresh(() => [
    ev("conversation.opened"), said("hello"), bot("hi"), said("a person please"),
    ev("handoff.made", { handoff: { rule: "want", queue: "support", priority: 5 } }), moved(owner("bot"), owner("queued", { queue: "support" }), "handoff"),
    bot("I am late"), // in flight: said by the bot while a queue has it
    said("waiting"), moved(owner("queued", { queue: "support" }), robin, "claim"), said("thanks"), moved(robin, owner("bot"), "release"), bot("back"),
  ]);
  const items = foldThread(events, around(owner("bot")));
  const line = (text: string) => items.find((i) => i.kind === "message" && i.message.text === text)?.line;
  assert.equal(line("hello"), "bot");
  assert.equal(line("a person please"), "bot");
  assert.equal(line("I am late"), "queue");
  assert.equal(line("waiting"), "queue");
  assert.equal(line("thanks"), "human");
  assert.equal(line("back"), "bot");
  const handoff = items.find((i) => i.kind === "handoff");
  assert.equal(handoff?.kind === "handoff" && handoff.from, "bot");
  assert.equal(handoff?.line, "queue");
  assert.equal(items.filter((i) => i.kind === "event" && i.from).length, 2, "claim and release bend the line once each");
});

test("a stretch from the middle takes its line from the change that follows, or from now", () => {
  const tail = fresh(() => [said("one"), moved(robin, owner("queued", { queue: "x" }), "transfer"), said("two")]);
  const items = foldThread(tail, around(owner("queued")));
  assert.deepEqual(items.filter((i) => i.kind === "message").map((i) => i.line), ["human", "queue"]);
  const quiet = fresh(() => [said("one")]);
  assert.equal(foldThread(quiet, around(robin)).at(-1)?.line, "human");
});

test("the handoff says its rule, the words, the scores and what was held back", () => {
  const events = fresh(() => [
    said("I did not make this charge"),
    ev("decision.made", { decision: { kind: "handoff", phase: "inbound", rule: "fraud", matched: ["fraud", "angry"], message: 1, scores: { frustration: 0.7, repeat: 0.1 }, withheld: [{ text: "all is well" }] } }),
    ev("handoff.made", { handoff: { rule: "fraud", reason: "Fraud is for people.", queue: "desk", priority: 9, in_flight: ["b1"] } }),
    moved(owner("bot"), owner("queued", { queue: "desk" }), "handoff", { in_flight: ["b1"] }),
  ]);
  const h = foldThread(events, around(owner("queued"))).find((i) => i.kind === "handoff");
  assert.ok(h?.kind === "handoff");
  assert.equal(h.quote, "I did not make this charge");
  assert.deepEqual(h.scores, [["frustration", 0.7]]);
  assert.deepEqual(h.others, ["angry"]);
  assert.equal(h.withheld[0]?.text, "all is well");
  assert.equal(h.inFlight, 1);
  const m = foldThread(events, around(owner("queued"))).find((i) => i.kind === "message");
  assert.ok(m?.kind === "message" && m.decided);
});

test("a held reply is one item until it is sent, and none once it is taken back", () => {
  const held = ev("message.held", { actor: { kind: "agent", id: "robin" }, message: { id: "x", by: "agent", text: "hm", held: true, until: at(50) } });
  const one = foldThread([held], around(robin)).filter((i) => i.kind === "message");
  assert.deepEqual(one.map((i) => i.kind === "message" && i.delivery), [{ state: "held", until: Date.parse(at(50)) }]);
  const sent = ev("message.sent", { vseq: 7, actor: { kind: "agent", id: "robin" }, message: { id: "x", by: "agent", text: "hm" } });
  assert.equal(foldThread([held, sent], around(robin)).filter((i) => i.kind === "message").length, 1);
  const read = foldThread([held, sent], around(robin, { readUpTo: 7 })).find((i) => i.kind === "message");
  assert.ok(read?.kind === "message" && read.delivery?.state === "read");
  const undone = ev("message.status", { status: { message: "x", status: "undone" } });
  assert.equal(foldThread([held, undone], around(robin)).filter((i) => i.kind === "message").length, 0);
});

test("deliveries move with what the provider says", () => {
  for (const [status, code, want] of [
    ["delivered", "", { state: "delivered" }], ["uncertain", "", { state: "uncertain" }], ["failed", "30003", { state: "failed", code: "30003" }],
    ["read", "", { state: "read" }], ["cancelled", "", { state: "cancelled" }],
  ] as const) {
    const m = bot("x", "b9");
    const items = foldThread([m, ev("message.status", { status: { message: "b9", status, code } })], around(robin));
    const item = items.find((i) => i.kind === "message");
    assert.deepEqual(item?.kind === "message" && item.delivery, want);
  }
});

test("what is only on this device stands at the end, and not twice", () => {
  const send = { key: "k", conversation: "c", mode: "reply" as const, text: "hi", at: Date.parse(at(40)), after: 3, hold: 5, state: "sending" as const, tries: 1 };
  assert.deepEqual(kinds(foldThread([], around(robin, { sends: [send] }))), ["day", "message"]);
  // The log was quicker than the answer to the request.
  seq = 3;
  const held = ev("message.held", { actor: { kind: "agent", id: "robin" }, message: { id: "x", by: "agent", text: "hi", held: true } });
  assert.equal(foldThread([held], around(robin, { sends: [send] })).filter((i) => i.kind === "message").length, 1);
  assert.equal(foldThread([held], around(robin, { sends: [{ ...send, state: "waiting" }] })).filter((i) => i.kind === "message").length, 1, "its answer was lost");
  assert.equal(foldThread([held], around(robin, { sends: [{ ...send, state: "waiting", tries: 0 }] })).filter((i) => i.kind === "message").length, 2, "it never left");
  // The same words of before are another message.
  assert.equal(foldThread([held], around(robin, { sends: [{ ...send, after: 4 }] })).filter((i) => i.kind === "message").length, 2);
  assert.equal(foldThread([held], around(robin, { sends: [{ ...send, after: 4, state: "taken", message: "x" }] })).filter((i) => i.kind === "message").length, 1);
});

test("a note is never a message", () => {
  const items = foldThread(fresh(() => [ev("note.added", { actor: { kind: "agent", id: "robin" }, note: { id: "n", text: "secret" } })]), around(robin));
  assert.equal(items.filter((i) => i.kind === "message").length, 0);
  assert.ok(items.some((i) => i.kind === "note" && i.author === "You"));
});

test("five thousand messages fold in one go", () => {
  const events = fresh(() => Array.from({ length: 5000 }, (_, i) => said(`message ${i}`)));
  assert.equal(foldThread(events, around(robin)).filter((i) => i.kind === "message").length, 5000);
});

test("lengths of time", () => {
  assert.deepEqual([5, 65, 3600, 3720, 90_000].map(span), ["5 s", "1 m 5 s", "1 h", "1 h 2 m", "1 d 1 h"]);
});

test("what the customer is known by is an event, what the own system says by itself is not", () => {
  const events = fresh(() => [
    ev("profile.changed", { profile: { subject: "u1", name: "Eve" } }),
    ev("profile.changed", { account: { subject: "u1", at: at(0), fields: { plan: "gold" } } }),
    ev("profile.changed", { actor: { kind: "agent", id: "ana" }, account: { subject: "u1", at: at(1) } }),
  ]);
  const texts = foldThread(events, around(robin)).filter((i) => i.kind === "event").map((i) => i.kind === "event" && `${i.who} ${i.text}`.trim());
  assert.deepEqual(texts, ["Identified as \u2068Eve\u2069", "ana asked your own system who this is"]);
});

test("an age is told in a few words", () => {
  const words = [0, 59, 60, 61 * 60, 3600, 2 * 3600, 47 * 3600, 72 * 3600].map((s) => ageWord(0, s * 1000));
  assert.deepEqual(words, ["just now", "just now", "a minute old", "an hour old", "an hour old", "2 hours old", "47 hours old", "3 days old"]);
  assert.equal(ageWord(5000, 0), "just now", "a clock that is behind");
});
