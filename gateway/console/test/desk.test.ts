import assert from "node:assert/strict";
import { test } from "node:test";
import { Desk } from "../src/lib/desk.ts";
import { me, World } from "./kit.ts";

async function start(w = new World()): Promise<{ w: World; desk: Desk }> {
  const desk = new Desk(w, me, undefined);
  desk.start();
  await w.connect();
  return { w, desk };
}

/** A desk with conversation c1 open, robin's or waiting. */
async function opened(mine: boolean) {
  const w = new World();
  w.conversation("c1", mine);
  const { desk } = await start(w);
  desk.open("c1");
  await w.settle();
  const c = desk.conversation("c1");
  assert.equal(c.state, "ready");
  return { w, desk, c };
}

test("a reply is said once, held, and shown from the log", async () => {
  const { w, desk, c } = await opened(true);
  desk.drafts.set("c1", "reply", "  Hello  ");
  assert.ok(desk.send("c1", "reply"));
  assert.equal(desk.drafts.get("c1", "reply"), "");
  assert.equal(desk.outbox.of("c1")[0]?.state, "sending");
  await w.settle();
  assert.deepEqual(w.posts("reply").map((p) => p.body), [{ text: "Hello", hold: 5 }]);
  assert.equal(desk.outbox.of("c1")[0]?.state, "taken");
  w.deliver("c1", c.last);
  assert.equal(desk.outbox.of("c1").length, 0, "what is in the log is not kept on the device");
  assert.equal(desk.undoable(c)?.text, "Hello");
});

test("an answer that is lost is asked for again under the same key", async () => {
  const { w, desk, c } = await opened(true);
  w.net = "lost";
  desk.drafts.set("c1", "reply", "once");
  desk.send("c1", "reply");
  await w.settle();
  assert.equal(desk.outbox.of("c1")[0]?.state, "waiting");
  w.net = "up";
  await w.pass(2000);
  const posts = w.posts("reply");
  assert.ok(posts.length >= 2);
  assert.equal(new Set(posts.map((p) => p.key)).size, 1);
  assert.equal(w.logs.get("c1")!.filter((e) => e.type === "message.held").length, 1);
  w.deliver("c1", c.last);
  assert.equal(desk.outbox.of("c1").length, 0);
});

test("a reload in the middle of a send neither loses nor doubles it", async () => {
  const { w, desk } = await opened(true);
  w.net = "lost";
  desk.drafts.set("c1", "reply", "survives");
  desk.send("c1", "reply");
  await w.settle();
  // The page goes; another one begins with what the device keeps.
  desk.stop();
  w.net = "up";
  const { desk: again } = await start(w);
  await w.settle();
  assert.equal(w.logs.get("c1")!.filter((e) => e.type === "message.held").length, 1);
  again.open("c1");
  await w.settle();
  assert.equal(again.outbox.of("c1").length, 0);
});

test("what waited for longer than its key lives is not sent by itself", async () => {
  const { w, desk } = await opened(true);
  w.net = "lost";
  desk.drafts.set("c1", "reply", "old news");
  desk.send("c1", "reply");
  await w.settle();
  desk.stop();
  w.net = "up";
  w.time += 9 * 86_400_000;
  const posts = w.posts("reply").length;
  const { desk: again } = await start(w);
  await w.pass(5000);
  assert.equal(w.posts("reply").length, posts);
  assert.match(again.outbox.of("c1")[0]?.why ?? "", /more than a week/);
});

test("what the server has taken is not repeated after a reload", async () => {
  const { w, desk } = await opened(true);
  desk.drafts.set("c1", "reply", "taken");
  desk.send("c1", "reply");
  await w.settle();
  desk.stop();
  await start(w);
  await w.settle();
  assert.equal(w.posts("reply").length, 1);
});

test("offline, replies wait in their order and leave when the line is back", async () => {
  const { w, desk } = await opened(true);
  w.net = "cut";
  w.lose();
  assert.equal(desk.link.state, "offline");
  for (const text of ["one", "two", "three"]) {
    desk.drafts.set("c1", "reply", text);
    desk.send("c1", "reply");
  }
  await w.pass(20_000);
  assert.equal(w.posts("reply").length, 0, "nothing is tried without a line");
  assert.equal(desk.outbox.waiting, 3);
  w.net = "up";
  desk.link.nudge();
  await w.connect();
  await w.settle();
  assert.deepEqual(w.logs.get("c1")!.filter((e) => e.type === "message.held").map((e) => e.message?.text), ["one", "two", "three"]);
});

test("what never left the device is taken back without the server", async () => {
  const { w, desk, c } = await opened(true);
  w.net = "cut";
  w.lose();
  desk.drafts.set("c1", "reply", "not yet");
  desk.send("c1", "reply");
  assert.ok(await desk.undo(c));
  assert.equal(desk.drafts.get("c1", "reply"), "not yet");
  assert.equal(desk.outbox.waiting, 0);
  assert.equal(w.posts("undo").length, 0);
});

test("undo brings a held reply back in front of what was written since", async () => {
  const { w, desk, c } = await opened(true);
  desk.drafts.set("c1", "reply", "too quick");
  desk.send("c1", "reply");
  await w.settle();
  w.deliver("c1", c.last);
  desk.drafts.set("c1", "reply", "next words");
  assert.ok(await desk.undo(c));
  w.deliver("c1", c.last);
  assert.equal(desk.drafts.get("c1", "reply"), "too quick\nnext words");
  assert.equal(desk.undoable(c), undefined);
});

test("an undo that comes too late says so and keeps the text away from the draft", async () => {
  const { w, desk, c } = await opened(true);
  desk.drafts.set("c1", "reply", "gone");
  desk.send("c1", "reply");
  await w.settle();
  w.deliver("c1", c.last);
  w.next = (_, path) => (path.endsWith("/undo") ? { status: 409, retryAfter: 0, body: { code: "stale", detail: "moved on" } } : undefined);
  assert.equal(await desk.undo(c), false);
  assert.equal(c.notice?.text, "It has left already.");
  assert.equal(desk.drafts.get("c1", "reply"), "");
});

test("a refused reply stays, says why, and goes back into the box", async () => {
  const { w, desk, c } = await opened(true);
  w.next = (m) => (m === "POST" ? { status: 409, retryAfter: 0, body: { code: "not_owner", detail: "Claim it first." } } : undefined);
  desk.drafts.set("c1", "reply", "for nobody");
  desk.send("c1", "reply");
  await w.settle();
  const s = desk.outbox.of("c1")[0]!;
  assert.equal(s.state, "refused");
  assert.equal(s.why, "Claim it first.");
  desk.takeBack(c, s.key);
  assert.equal(desk.drafts.get("c1", "reply"), "for nobody");
  assert.equal(desk.outbox.of("c1").length, 0);
});

test("ownership moves only when the server has said so", async () => {
  const { w, desk, c } = await opened(false);
  assert.ok(desk.mayClaim(c));
  const claim = desk.claim(c);
  assert.equal(c.busy || "presence", "presence"); // first it says that it is there
  assert.equal(c.owner.kind, "queued");
  await claim;
  assert.equal(c.owner.agent, "robin");
  assert.ok(desk.holds(c));
  assert.equal(w.posts("claim").length, 1);
});

test("a lost race names the winner", async () => {
  const { w, desk, c } = await opened(false);
  w.next = (_, path) => (path.endsWith("/claim")
    ? { status: 409, retryAfter: 0, body: { code: "already_claimed", detail: "x", winner: { agent: "sam", name: "Sam Example" } } } : undefined);
  desk.presence = { on: true, capacity: 5, load: 0 };
  assert.equal(await desk.claim(c), false);
  assert.match(c.notice?.text ?? "", /Sam Example was quicker/);
  assert.equal(c.owner.kind, "queued");
});

test("an act without an answer is asked again under its key until there is one", async () => {
  const { w, desk, c } = await opened(true);
  w.net = "lost";
  const act = desk.act(c, "release");
  await w.settle();
  assert.equal(c.busy, "release");
  assert.equal(c.owner.agent, "robin", "not done before the server says so");
  assert.match(c.notice?.text ?? "", /Not confirmed/);
  w.net = "up";
  await w.pass(1000);
  assert.equal(await act, true);
  assert.equal(c.owner.kind, "bot");
  assert.equal(w.logs.get("c1")!.filter((e) => e.owner?.reason === "release").length, 1);
  assert.equal(c.notice, undefined);
});

test("who loses a conversation keeps the draft and hears who has it", async () => {
  const { w, desk, c } = await opened(true);
  desk.drafts.set("c1", "reply", "half a");
  w.happen("c1", { type: "owner.changed", actor: { kind: "supervisor", id: "olga" }, owner: { from: c.owner, to: { kind: "agent", agent: "olga", name: "Olga" }, reason: "claim" } });
  assert.match(c.notice?.text ?? "", /Olga has this conversation now.*draft is kept/);
  assert.equal(desk.drafts.get("c1", "reply"), "half a");
  assert.equal(desk.send("c1", "reply"), false, "a reply goes out only from who has it");
});

test("after a lost line each conversation goes on from its last event", async () => {
  const { w, c } = await opened(true);
  const had = c.last;
  w.lose();
  w.write("c1", { type: "message.received", actor: { kind: "customer" }, message: { id: "m9", by: "customer", text: "still there?" } });
  await w.pass(2000);
  await w.connect();
  assert.equal(w.wire.sent[0]?.cursor, "c1", "the queues are resumed");
  const follow = w.wire.sent.find((f) => f.type === "follow");
  assert.equal(follow?.after, had);
  w.deliver("c1", had - 2); // the server may repeat
  assert.equal(c.last, had + 1);
  assert.equal(new Set(c.events.map((e) => e.seq)).size, c.events.length);
});

test("a gap in the events is not drawn over", async () => {
  const { w, c } = await opened(true);
  const before = c.last;
  w.write("c1", { type: "message.received", message: { id: "m8", by: "customer", text: "lost on the way" } });
  w.happen("c1", { type: "message.received", message: { id: "m9", by: "customer", text: "after it" } });
  assert.equal(c.last, before);
  assert.equal(w.wire.sent.at(-1)?.type, "follow");
  assert.equal(w.wire.sent.at(-1)?.after, before);
});

test("drafts are apart by mode, kept at a pause and over a reload", async () => {
  const { w, desk } = await opened(true);
  desk.drafts.set("c1", "reply", "to the customer");
  desk.drafts.set("c1", "note", "to the team");
  assert.equal(desk.drafts.saved, false);
  await w.pass(300);
  assert.ok(desk.drafts.saved);
  const again = new Desk(w, me, undefined);
  assert.equal(again.drafts.get("c1", "reply"), "to the customer");
  assert.equal(again.drafts.get("c1", "note"), "to the team");
  assert.equal(new Desk(w, { ...me, id: "sam" }, undefined).drafts.get("c1", "note"), "", "another agent of the same device sees none of it");
});

test("a device that keeps nothing still works", async () => {
  const { w, desk } = await opened(true);
  w.storage.full = true;
  desk.drafts.set("c1", "reply", "still said");
  desk.send("c1", "reply");
  await w.pass(300);
  assert.equal(w.logs.get("c1")!.filter((e) => e.type === "message.held").length, 1);
});

test("the end of the sign-in stops everything and keeps what was written", async () => {
  const { w, desk } = await opened(true);
  let out = 0;
  desk.onsignedout = () => out++;
  desk.drafts.set("c1", "note", "mine");
  w.lose(4001);
  assert.equal(out, 1);
  await w.pass(60_000);
  assert.equal(w.sockets.length, 1, "it does not come back by itself");
  assert.equal(new Desk(w, me, undefined).drafts.get("c1", "note"), "mine");
});

test("panes: open, replace, move, close", async () => {
  const { w, desk } = await start();
  for (const id of ["a", "b", "c", "d"]) w.conversation(id, true);
  for (const id of ["a", "b", "c"]) desk.open(id, true, 3);
  assert.deepEqual(desk.panes, ["a", "b", "c"]);
  desk.setFocus(1);
  desk.open("d", true, 3);
  assert.deepEqual(desk.panes, ["a", "d", "c"]);
  desk.movePane(-1);
  assert.deepEqual(desk.panes, ["d", "a", "c"]);
  assert.equal(desk.focus, 0);
  desk.close("d");
  assert.deepEqual(desk.panes, ["a", "c"]);
  await w.settle();
  assert.deepEqual(new Desk(w, me, undefined).panes, ["a", "c"]);
});

test("the lists are read once at a time, and again when something changed meanwhile", async () => {
  const { w } = await start();
  await w.pass(1000);
  const before = w.requests.length;
  for (let i = 0; i < 20; i++) w.push({ type: "queue", cursor: `q${i}`, changes: [] });
  await w.pass(2000);
  assert.equal(w.requests.length - before, 6, "twice three views for twenty changes");
});

test("unread is what the customer said after the last look", async () => {
  const { w, desk } = await opened(true);
  const row = { conversation: "c1", channel: "shop.web", owner: { kind: "agent" as const, agent: "robin" }, seq: 9, last: { seq: 9, by: "customer" as const, text: "hi", at: w.server() } };
  w.lists["mine"] = [row];
  desk.refreshLists();
  await w.pass(500);
  assert.ok(desk.unread(row));
  desk.markRead("c1");
  assert.equal(desk.unread(row), false);
});

const erased = { status: 410, body: { code: "erased", detail: "This conversation was erased." }, retryAfter: 0 };

/** What of a conversation is on the device: anything that is kept, but for which panes are open. */
const kept = (w: World, id: string) => [...w.storage.kept].filter(([k, v]) => !k.endsWith("/panes") && (k.includes(id) || v.includes(id)));

test("what was erased while it was open leaves nothing behind", async () => {
  const { w, desk, c } = await opened(true);
  desk.drafts.set("c1", "reply", "a secret draft");
  desk.drafts.set("c1", "note", "a secret note");
  desk.drafts.flush();
  desk.markRead("c1");
  w.net = "cut";
  desk.drafts.set("c1", "reply", "a secret reply");
  desk.send("c1", "reply");
  await w.settle();
  assert.notDeepEqual(kept(w, "c1"), []);
  w.net = "up";
  w.push({ type: "unfollowed", conversation: "c1", code: "erased" });
  await w.settle();
  assert.equal(c.state, "erased");
  assert.deepEqual(c.events, []);
  assert.equal(c.context, undefined);
  assert.equal(desk.nameOf("c1"), "Erased");
  assert.equal(desk.mayClaim(c), false);
  assert.equal(desk.outbox.of("c1").length, 0);
  assert.deepEqual(kept(w, "c1"), []);
  const before = w.posts("reply").length;
  await w.pass(60_000);
  assert.equal(w.posts("reply").length, before, "nothing more is sent there");
  assert.equal(c.state, "erased", "nothing brings it back");
});

test("what was erased before it was opened says so, and is not asked for again", async () => {
  const w = new World();
  w.conversation("c1", true);
  const { desk } = await start(w);
  w.next = (_, path) => (path.includes("/conversations/c1") ? erased : undefined);
  desk.open("c1");
  await w.settle();
  const c = desk.conversation("c1");
  assert.equal(c.state, "erased");
  const asked = w.requests.filter((r) => r.path.includes("/conversations/c1")).length;
  w.lose();
  await w.pass(5000);
  await w.connect();
  assert.equal(c.state, "erased");
  assert.equal(w.requests.filter((r) => r.path.includes("/conversations/c1")).length, asked);
});

test("an act on what was erased meanwhile ends in the same way", async () => {
  const { w, desk, c } = await opened(true);
  w.next = (method) => (method === "POST" ? erased : undefined);
  assert.equal(await desk.act(c, "resolve"), false);
  await w.settle();
  assert.equal(c.state, "erased");
  assert.equal(c.notice, undefined);
});

test("nobody takes what could not be read", async () => {
  const w = new World();
  w.conversation("c1", false);
  const desk = new Desk(w, { ...me, role: "supervisor" }, undefined);
  desk.start();
  await w.connect();
  w.next = (_, path) => (path.includes("/conversations/c1") ? { status: 500, body: { code: "internal" }, retryAfter: 0 } : undefined);
  desk.open("c1");
  await w.settle();
  const c = desk.conversation("c1");
  assert.equal(c.state, "failed");
  assert.equal(desk.mayClaim(c), false, "whose it is, is not known");
  await c.load();
  assert.equal(c.state, "ready");
  assert.equal(desk.mayClaim(c), true);
});
