import assert from "node:assert/strict";
import { test } from "node:test";
import type { OpenLink } from "../src/link.ts";
import { Refused } from "../src/session.ts";
import { Clock, Server, settle, sight, Storage, tab } from "./kit.ts";

function scene() {
  const clock = new Clock();
  const server = new Server(clock);
  const storage = new Storage();
  return { clock, server, storage };
}

test("nothing is asked of the server before there is something to say", async () => {
  const { clock, server, storage } = scene();
  const { engine } = tab(server, storage);
  engine.start();
  await clock.pass(60_000);
  assert.equal(server.posts.length + server.links.length, 0);
  assert.equal(engine.current, true);
  engine.say({ text: "hi" });
  await settle();
  assert.deepEqual(server.texts(), ["hi"]);
});

test("a message is on the shelf before it is on its way, and leaves it when it is safe", async () => {
  const { clock, server, storage } = scene();
  const { engine } = tab(server, storage);
  engine.start();
  server.up = false;
  engine.say({ text: "keep me" });
  assert.equal(storage.names().filter((k) => k.startsWith("out.")).length, 1);
  await clock.pass(1000);
  assert.deepEqual(sight(engine), ["waiting: keep me"]);
  server.up = true;
  await clock.pass(40_000);
  assert.deepEqual(sight(engine), ["customer: keep me"]);
  assert.equal(storage.names().filter((k) => k.startsWith("out.")).length, 0);
});

test("what was accepted is not shown as said before the conversation shows it", async () => {
  const { clock, server, storage } = scene();
  const { engine } = tab(server, storage);
  engine.start();
  engine.say({ text: "one" });
  await settle();
  // From now on the server takes everything, and nothing of it comes back.
  server.deaf = true;
  engine.say({ text: "two" });
  await settle();
  assert.deepEqual(server.texts(), ["one", "two"]);
  assert.deepEqual(sight(engine), ["customer: one", "sending: two"]);
  // Its answer is lost for good. The link counts as broken after a while; the next one shows that it was taken.
  server.deaf = false;
  await clock.pass(20_000);
  assert.deepEqual(sight(engine), ["customer: one", "customer: two"]);
  assert.deepEqual(server.texts(), ["one", "two"]);
});

test("a lost answer and a page that goes away: the next page sends it again and it is there once", async () => {
  const { clock, server, storage } = scene();
  const first = tab(server, storage);
  first.engine.start();
  first.engine.say({ text: "one" });
  await settle();
  server.deaf = true;
  first.engine.say({ text: "two" });
  await settle();
  first.engine.stop();
  server.deaf = false;
  const second = tab(server, storage);
  second.engine.start();
  await clock.pass(10_000);
  assert.deepEqual(sight(second.engine), ["customer: one", "customer: two"]);
  assert.deepEqual(server.texts(), ["one", "two"]);
});

test("order holds over breaks: the second waits until the first has its answer", async () => {
  const { clock, server, storage } = scene();
  const { engine } = tab(server, storage);
  engine.start();
  server.up = false;
  for (const text of ["a", "b", "c", "d"]) engine.say({ text });
  await clock.pass(5000);
  server.up = true;
  let n = 0;
  server.refuse = () => (n++ === 1 ? { code: "store_unavailable", retry_after: 3 } : null);
  await clock.pass(60_000);
  assert.deepEqual(server.texts(), ["a", "b", "c", "d"]);
  assert.deepEqual(sight(engine), ["customer: a", "customer: b", "customer: c", "customer: d"]);
  assert.equal(engine.trouble, "");
});

test("events that come twice or early change nothing", async () => {
  const { clock, server, storage } = scene();
  let hold: ((f: never) => void) | null = null;
  const { engine } = tab(server, storage, [
    (target, hooks) => {
      hold = hooks.frame as (f: never) => void;
      return server.openLink(target, hooks);
    },
  ]);
  engine.start();
  engine.say({ text: "hi" });
  await settle();
  const again = server.open?.events[0];
  hold!({ type: "event", cursor: "c_1.1", event: again } as never);
  assert.deepEqual(sight(engine), ["customer: hi"]);
  // One from the future: what is between would be lost if it were taken.
  server.append({ type: "message", by: "bot", part: { text: "lost on the way" } });
  await settle();
  hold!({ type: "event", cursor: "c_1.9", event: { ...again, vseq: 9, by: "bot", client_id: undefined } } as never);
  await clock.pass(5000);
  assert.deepEqual(sight(engine), ["customer: hi", "bot: lost on the way"]);
});

test("it comes back by its cursor and gets what it missed, once", async () => {
  const { clock, server, storage } = scene();
  const { engine } = tab(server, storage);
  engine.start();
  engine.say({ text: "hi" });
  await settle();
  server.say("bot", "hello");
  server.up = false;
  server.breakAll();
  server.say("agent", "are you there?");
  await clock.pass(120_000);
  assert.equal(engine.trouble, "unreachable");
  server.up = true;
  await clock.pass(31_000);
  assert.deepEqual(sight(engine), ["customer: hi", "bot: hello", "agent: are you there?"]);
  assert.equal(engine.trouble, "");
  assert.equal(server.links[0]?.target.after, "c_1.2");
});

test("attempts grow apart, and are not made in step", async () => {
  const { clock, server, storage } = scene();
  const at: number[] = [];
  const never: OpenLink = (_, hooks) => {
    at.push(clock.time);
    queueMicrotask(() => hooks.closed({}));
    return { send() {}, close() {} };
  };
  const { engine } = tab(server, storage, [never]);
  engine.start();
  engine.say({ text: "hi" });
  await clock.pass(300_000);
  const gaps = at.slice(1).map((t, i) => t - (at[i] as number));
  assert.ok(gaps[0]! < 1000, `the first repeat after ${gaps[0]} ms`);
  for (let i = 1; i < gaps.length; i++) assert.ok(gaps[i]! >= gaps[i - 1]!, `gaps ${gaps}`);
  assert.ok(gaps.at(-1)! >= 15_000 && gaps.at(-1)! <= 31_000, `the last gap ${gaps.at(-1)}`);
  // A hint that it may work again is worth an attempt at once.
  const before = at.length;
  engine.hurry();
  await settle();
  assert.equal(at.length, before + 1);
});

test("a server that asks for time gets it", async () => {
  const { clock, server, storage } = scene();
  let tries = 0;
  const later: OpenLink = (_, hooks) => {
    tries++;
    queueMicrotask(() => hooks.closed({ after: 5000 }));
    return { send() {}, close() {} };
  };
  const { engine } = tab(server, storage, [later]);
  engine.start();
  engine.say({ text: "hi" });
  await clock.pass(5000);
  assert.equal(tries, 1);
  assert.equal(engine.trouble, "busy");
  await clock.pass(2000);
  assert.equal(tries, 2);
});

test("where sockets never open it takes the other way, and stays there", async () => {
  const { clock, server, storage } = scene();
  let sockets = 0;
  const blocked: OpenLink = (_, hooks) => {
    sockets++;
    queueMicrotask(() => hooks.closed({}));
    return { send() {}, close() {} };
  };
  const { engine } = tab(server, storage, [blocked, server.openLink]);
  engine.start();
  engine.say({ text: "hi" });
  await clock.pass(5000);
  assert.deepEqual(sight(engine), ["customer: hi"]);
  assert.equal(sockets, 2);
  server.breakAll();
  await clock.pass(5000);
  assert.equal(sockets, 2);
  assert.equal(server.links.length, 1);
});

test("a refusal stays with its message, and its author decides", async () => {
  const { clock, server, storage } = scene();
  const { engine } = tab(server, storage);
  engine.start();
  server.refuse = (f) => (f.type === "message" && f.text === "too much" ? { code: "too_large" } : null);
  engine.say({ text: "too much" });
  engine.say({ text: "fine" });
  await settle();
  assert.deepEqual(sight(engine), ["customer: fine", "failed: too much"]);
  await clock.pass(60_000);
  assert.equal(server.arrived.length, 1);
  // It outlives the page.
  engine.stop();
  const second = tab(server, storage);
  second.engine.start();
  await clock.pass(10_000);
  assert.deepEqual(sight(second.engine), ["customer: fine", "failed: too much"]);
  server.refuse = null;
  second.engine.retry(second.engine.outbox.list()[0]!.id);
  await settle();
  assert.deepEqual(sight(second.engine), ["customer: fine", "customer: too much"]);
});

test("asking for a person: once, also while the bot is at work, and done when the server says so", async () => {
  const { server, storage } = scene();
  const { engine } = tab(server, storage);
  engine.start();
  engine.say({ text: "hi" });
  await settle();
  assert.equal(engine.thinking, true);
  server.deaf = true;
  engine.human();
  engine.human();
  await settle();
  assert.equal(engine.asking, true);
  assert.equal(engine.thread.owner.kind, "bot");
  assert.equal(server.arrived.length, 2);
  server.deaf = false;
  server.breakAll();
  await server.clock.pass(2000);
  assert.equal(engine.asking, false);
  assert.equal(engine.thread.owner.kind, "queued");
  assert.equal(engine.place, 1);
  assert.equal(engine.thinking, false);
  assert.deepEqual(server.texts(), ["hi", "(person)"]);
});

test("two tabs are one visitor, see the same and send everything once", async () => {
  const { clock, server, storage } = scene();
  const a = tab(server, storage);
  const b = tab(server, storage);
  a.engine.start();
  b.engine.start();
  a.engine.say({ text: "from a" });
  b.engine.say({ text: "from b" });
  await clock.pass(10_000);
  assert.equal(server.visitors, 1);
  assert.deepEqual([...server.texts()].sort(), ["from a", "from b"]);
  server.say("bot", "hello both");
  await clock.pass(1000);
  assert.deepEqual(sight(a.engine), sight(b.engine));
  assert.equal(a.engine.outbox.list().length + b.engine.outbox.list().length, 0);
  assert.equal(server.arrived.length, 2, "a tab left the other alone with what it was sending");
});

// [milliseconds until tabs see each other's writes, milliseconds to the server and back]
const distances = [[5, 20], [15, 20], [30, 20], [300, 20], [30, 0]] as const;

test("the second tab goes along with the first, however late it sees what that wrote", async () => {
  for (const [lag, distance] of distances) {
    const clock = new Clock();
    const server = new Server(clock);
    server.distance = distance;
    const storage = new Storage(clock, lag);
    const a = tab(server, storage);
    const b = tab(server, storage);
    a.engine.start();
    b.engine.start();
    const name = `seen after ${lag} ms, ${distance} ms to the server`;
    a.engine.say({ text: "from a" });
    await clock.pass(1000);
    assert.equal(server.visitors, 1, name);
    b.engine.say({ text: "from b" });
    await clock.pass(30_000);
    assert.deepEqual(sight(a.engine), ["customer: from a", "customer: from b"], name);
    assert.deepEqual(sight(b.engine), sight(a.engine), name);
    assert.equal(server.arrived.length, 2, name);
  }
});

test("tabs that begin in the same instant end as one visitor", async () => {
  for (const [lag, distance] of distances) {
    const clock = new Clock();
    const server = new Server(clock);
    server.distance = distance;
    const storage = new Storage(clock, lag);
    const a = tab(server, storage);
    const b = tab(server, storage);
    a.engine.start();
    b.engine.start();
    a.engine.say({ text: "from a" });
    b.engine.say({ text: "from b" });
    await clock.pass(30_000);
    const name = `seen after ${lag} ms, ${distance} ms to the server`;
    const session = a.engine.sessions.known();
    assert.deepEqual(b.engine.sessions.known(), session, name);
    assert.deepEqual(server.links.map((l) => l.target.token), [session?.token, session?.token], name);
    assert.equal(a.engine.outbox.list().length + b.engine.outbox.list().length, 0, name);
  }
});

test("a tab that goes away leaves its message to the other", async () => {
  const { clock, server, storage } = scene();
  const a = tab(server, storage);
  const b = tab(server, storage);
  a.engine.start();
  a.engine.say({ text: "first" });
  await clock.pass(100);
  b.engine.start();
  await clock.pass(100);
  // The tab's own link is gone and so is the tab, before it could send.
  server.links.find((l) => l.target.after === "")?.break();
  a.engine.say({ text: "left behind" });
  a.engine.stop();
  await clock.pass(3000);
  await clock.pass(10_000);
  assert.deepEqual(server.texts(), ["first", "left behind"]);
  assert.deepEqual(sight(b.engine), ["customer: first", "customer: left behind"]);
});

test("a conversation after the end of one is another, below it", async () => {
  const { clock, server, storage } = scene();
  const { engine } = tab(server, storage);
  engine.start();
  engine.say({ text: "hi" });
  await settle();
  server.own({ kind: "closed" });
  server.append({ type: "closed" });
  await settle();
  assert.equal(engine.thread.owner.kind, "closed");
  server.next();
  engine.say({ text: "one more thing" });
  await settle();
  assert.deepEqual(sight(engine), ["customer: hi", "> closed", "> closed", "customer: one more thing"]);
  assert.equal(engine.thread.owner.kind, "bot");
  server.breakAll();
  await clock.pass(2000);
  assert.equal(server.links[0]?.target.after, "c_2.1");
  assert.deepEqual(sight(engine), ["customer: hi", "> closed", "> closed", "customer: one more thing"]);
});

test("a token that is worth nothing any more is replaced, and what was not sent goes out", async () => {
  const { clock, server, storage } = scene();
  const first = tab(server, storage);
  first.engine.start();
  first.engine.say({ text: "hi" });
  await settle();
  first.engine.stop();
  server.tokens.clear(); // the server got another key
  server.conversations = [];
  const { engine } = tab(server, storage);
  engine.start();
  engine.say({ text: "hello again" });
  await clock.pass(10_000);
  assert.deepEqual(sight(engine), ["customer: hello again"]);
  assert.equal(server.visitors, 2);
});

test("a cursor that nobody knows begins again from the start", async () => {
  const { clock, server, storage } = scene();
  const { engine } = tab(server, storage);
  engine.start();
  engine.say({ text: "hi" });
  await settle();
  server.conversations = []; // the store is another one
  server.append({ type: "message", by: "system", part: { text: "welcome" } });
  server.conversations[0]!.id = server.conversations[0]!.events[0]!.conversation = "c_other";
  server.breakAll();
  await clock.pass(5000);
  assert.deepEqual(sight(engine), ["system: welcome"]);
});

test("a session is renewed before it runs out", async () => {
  const { clock, server, storage } = scene();
  const first = tab(server, storage);
  first.engine.start();
  first.engine.say({ text: "hi" });
  await settle();
  first.engine.stop();
  clock.time += server.life * 0.6;
  const { engine } = tab(server, storage);
  engine.start();
  await clock.pass(1000);
  const sessions = server.posts.filter((p) => p.path === "/session");
  assert.equal(sessions.length, 2);
  assert.ok(sessions[1]?.body["token"], "renewed by its own token");
  assert.deepEqual(sight(engine), ["customer: hi"]);
});

test("a visitor whose clock is wrong stays the same visitor", async () => {
  const { clock, server, storage } = scene();
  server.life = -24 * 3600 * 1000; // by the visitor's clock every token has run out
  const first = tab(server, storage);
  first.engine.start();
  first.engine.say({ text: "hi" });
  await settle();
  first.engine.stop();
  const { engine } = tab(server, storage);
  engine.start();
  await clock.pass(1000);
  assert.equal(server.visitors, 1);
  assert.deepEqual(sight(engine), ["customer: hi"]);
});

test("an identity: the same person goes on, another begins anew, a bad one is refused", async () => {
  const { clock, server, storage } = scene();
  const { engine } = tab(server, storage);
  engine.start();
  engine.say({ text: "hi" });
  await settle();
  await engine.identify("same");
  await clock.pass(1000);
  assert.deepEqual(sight(engine), ["customer: hi"]);
  await assert.rejects(engine.identify("bad"), (err: unknown) => err instanceof Refused && err.code === "unauthenticated");
  assert.deepEqual(sight(engine), ["customer: hi"]);
  server.conversations = [];
  await engine.identify("jane");
  await clock.pass(1000);
  assert.deepEqual(sight(engine), []);
});

test("signing out forgets, in every tab", async () => {
  const { clock, server, storage } = scene();
  const a = tab(server, storage);
  const b = tab(server, storage);
  a.engine.start();
  a.engine.say({ text: "secret" });
  await clock.pass(100);
  b.engine.start();
  await clock.pass(100);
  assert.deepEqual(sight(b.engine), ["customer: secret"]);
  a.engine.reset();
  await clock.pass(1000);
  assert.deepEqual([sight(a.engine), sight(b.engine)], [[], []]);
  assert.equal(server.links.length, 0);
  assert.equal(storage.names().filter((k) => k === "session" || k.startsWith("out.")).length, 0);
});

test("what is typed is told to people only, and seldom", async () => {
  const { clock, server, storage } = scene();
  const { engine } = tab(server, storage);
  engine.start();
  engine.say({ text: "hi" });
  await settle();
  const typing = () => server.links[0]!.sent.filter((f) => f.type === "typing").length;
  engine.writes(true);
  assert.equal(typing(), 0);
  server.own({ kind: "agent", name: "Lou" });
  for (let i = 0; i < 10; i++) {
    engine.writes(true);
    await clock.pass(300);
  }
  assert.equal(typing(), 1);
  engine.writes(false);
  engine.writes(false);
  await settle();
  assert.equal(typing(), 2);
});

test("typing of the other side lapses", async () => {
  const { clock, server, storage } = scene();
  const { engine } = tab(server, storage);
  engine.start();
  engine.say({ text: "hi" });
  await settle();
  server.own({ kind: "agent", name: "Lou" });
  server.links[0]!.frame({ type: "typing", on: true, by: "agent", name: "Lou" });
  assert.equal(engine.typing?.name, "Lou");
  await clock.pass(9000);
  assert.equal(engine.typing, null);
});

test("unread counts what nobody has looked at, in any tab and on any page", async () => {
  const { clock, server, storage } = scene();
  const first = tab(server, storage);
  first.engine.start();
  first.engine.look(true);
  first.engine.say({ text: "hi" });
  await settle();
  server.say("bot", "hello");
  await settle();
  assert.equal(first.engine.unread, 0);
  assert.deepEqual(server.links[0]!.sent.filter((f) => f.type === "read"), [{ type: "read", cursor: "c_1.2" }]);
  first.engine.stop();
  server.say("agent", "said while no page was there");
  const a = tab(server, storage);
  const b = tab(server, storage);
  a.engine.start();
  b.engine.start();
  await clock.pass(100);
  assert.deepEqual([a.engine.unread, b.engine.unread], [1, 1]);
  server.say("agent", "Lou here");
  await settle();
  assert.deepEqual([a.engine.unread, b.engine.unread], [2, 2]);
  a.engine.look(true);
  await settle();
  assert.deepEqual([a.engine.unread, b.engine.unread], [0, 0]);
});

test("a bot that answers nothing is not at work for ever", async () => {
  const { clock, server, storage } = scene();
  const { engine } = tab(server, storage);
  engine.start();
  engine.say({ text: "hi" });
  await settle();
  server.outcome = { status: 202, body: {}, after: 0 };
  await clock.pass(11_000);
  assert.equal(engine.thinking, true);
  const asked = server.posts.filter((p) => p.path === "/messages");
  assert.ok(asked.length >= 1 && asked.every((p) => p.body["id"] === server.open?.events[0]?.client_id), "it asks by the same id");
  server.outcome = { status: 200, body: { messages: [] }, after: 0 };
  await clock.pass(10_000);
  assert.equal(engine.thinking, false);
  assert.deepEqual(server.texts(), ["hi"]);
});

test("a break that mends itself is no news, one that lasts is", async () => {
  const { clock, server, storage } = scene();
  const { engine } = tab(server, storage);
  engine.start();
  engine.say({ text: "hi" });
  await settle();
  server.breakAll();
  assert.equal(engine.trouble, "connecting");
  await clock.pass(2000);
  assert.equal(engine.trouble, "");
  server.up = false;
  server.breakAll();
  await clock.pass(5000);
  assert.equal(engine.trouble, "unreachable");
});

test("offline is said as offline", async () => {
  const { clock, server, storage } = scene();
  const { engine, world } = tab(server, storage);
  engine.start();
  engine.say({ text: "hi" });
  await settle();
  world.connected = false;
  server.up = false;
  engine.lost();
  assert.equal(engine.trouble, "offline");
  engine.say({ text: "later" });
  await clock.pass(60_000);
  assert.equal(engine.trouble, "offline");
  assert.deepEqual(sight(engine), ["customer: hi", "waiting: later"]);
  world.connected = true;
  server.up = true;
  engine.hurry();
  await settle();
  assert.deepEqual(sight(engine), ["customer: hi", "customer: later"]);
});

test("a chat that is taken off the page leaves nothing behind", async () => {
  const { clock, server, storage } = scene();
  const { engine } = tab(server, storage);
  engine.start();
  engine.say({ text: "hi" });
  await settle();
  engine.stop();
  assert.equal(server.links.length, 0);
  assert.equal(clock.waiting, 0);
});
