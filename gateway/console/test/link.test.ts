import assert from "node:assert/strict";
import { test } from "node:test";
import { Clock, unsureAfter } from "../src/lib/clock.ts";
import { Link } from "../src/lib/link.ts";
import { linked, running } from "../src/lib/say.ts";
import { me, World } from "./kit.ts";

test("the server's time is measured, and unsure without a measure", () => {
  const w = new World();
  const c = new Clock(w);
  assert.ok(c.unsure);
  assert.equal(c.now(), w.time);
  const measure = (there: number, back: number) => {
    c.ping();
    w.time += there;
    const said = new Date(w.time + 90_000).toISOString(); // the device is a minute and a half behind
    w.time += back;
    c.pong(said);
  };
  measure(50, 50);
  assert.equal(c.now() - w.time, 90_000);
  measure(3000, 100); // a slow answer says less than a quick one
  assert.equal(c.now() - w.time, 90_000);
  assert.equal(c.unsure, false);
  w.time += unsureAfter + 1;
  assert.ok(c.unsure);
  c.ping();
  c.pong(undefined);
  c.pong("nonsense");
  assert.ok(c.unsure);
});

test("a line without a word is dead, and comes back with its cursor", async () => {
  const w = new World();
  const link = new Link(w);
  const states: string[] = [];
  link.onstate = () => states.push(link.state);
  link.start();
  await w.connect();
  w.push({ type: "queue", cursor: "c7", changes: [] });
  for (let i = 0; i < 3; i++) {
    await w.pass(4000);
    w.push({ type: "pong", now: w.server() });
  }
  assert.equal(link.state, "live");
  assert.equal(link.clock.unsure, false);
  const first = w.wire;
  await w.pass(14_000);
  assert.equal(link.state, "offline");
  assert.ok(first.closed);
  await w.pass(16_000);
  await w.connect();
  assert.deepEqual(w.wire.sent[0], { type: "hello", cursor: "c7" });
  assert.deepEqual(states, ["live", "offline", "live"]);
});

test("a socket that never opens is tried again, ever more slowly", async () => {
  const w = new World();
  const link = new Link(w);
  link.start();
  const waits: number[] = [];
  for (let i = 0; i < 8; i++) {
    const n = w.sockets.length, t = w.time;
    w.lose();
    while (w.sockets.length === n) await w.pass(100);
    waits.push(w.time - t);
  }
  assert.ok(waits[0]! < 1000 && waits.at(-1)! > 8000 && waits.at(-1)! < 20_000, String(waits));
  link.stop();
  const n = w.sockets.length;
  await w.pass(60_000);
  assert.equal(w.sockets.length, n);
});

test("a sign-in that the server does not know is not tried again", async () => {
  const w = new World();
  const link = new Link(w);
  let expired = 0;
  link.onexpired = () => expired++;
  link.start();
  w.wire.onopen?.();
  w.push({ type: "error", code: "unauthenticated", detail: "x" });
  assert.equal(expired, 1);
  await w.pass(60_000);
  assert.equal(w.sockets.length, 1);
  void me;
});

test("links are cut out of a text and nothing else is", () => {
  assert.deepEqual(linked("see https://a.example/x?y=1. And <b>javascript:alert(1)</b>"), [
    { text: "see " }, { text: "https://a.example/x?y=1", href: "https://a.example/x?y=1" }, { text: ". And <b>javascript:alert(1)</b>" },
  ]);
  assert.deepEqual(linked("(https://a.example)"), [{ text: "(" }, { text: "https://a.example", href: "https://a.example/" }, { text: ")" }]);
});

test("running times keep their form", () => {
  assert.deepEqual([0, 42_000, 680_000, 11_100_000, 90_000_000, -5].map(running), ["0:00", "0:42", "11:20", "3:05:00", "1 d 1 h", "0:00"]);
});
