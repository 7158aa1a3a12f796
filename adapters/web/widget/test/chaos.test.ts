import assert from "node:assert/strict";
import { test } from "node:test";
import { Clock, Server, Storage, type Tab, tab } from "./kit.ts";

/** A repeatable source of chance (mulberry32). */
function chance(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface Run {
  server: Server;
  storage: Storage;
  tabs: Tab[];
  written: string[];
}

/** Three tabs of one visitor, a network and a server that fail at any moment, pages that are loaded again. */
async function run(seed: number, change: (server: Server, storage: Storage) => void = () => {}): Promise<Run> {
  const random = chance(seed);
  const clock = new Clock();
  const server = new Server(clock);
  const storage = new Storage();
  change(server, storage);
  const tabs: Tab[] = [];
  const counts = [0, 0, 0];
  const written: string[] = [];
  for (let i = 0; i < 3; i++) {
    tabs.push(tab(server, storage));
    tabs[i]!.engine.start();
  }
  server.bot = (e) => random() < 0.5 && clock.after(1000 * random(), () => server.say("bot", `to ${e.part?.text}`));
  for (let step = 0; step < 120; step++) {
    const i = Math.floor(random() * 3);
    const dice = random();
    if (dice < 0.3) {
      const text = `${i}:${counts[i]!++}`;
      written.push(text);
      tabs[i]!.engine.say({ text });
    } else if (dice < 0.4) server.up = !server.up;
    else if (dice < 0.5) server.breakAll();
    else if (dice < 0.58) {
      // A connection that stalls loses what was on its way when it breaks; none comes back as if nothing had been.
      server.deaf = !server.deaf;
      if (!server.deaf) server.breakAll();
    } else if (dice < 0.66) {
      tabs[i]!.engine.stop();
      tabs[i] = tab(server, storage);
      tabs[i]!.engine.start();
    } else if (dice < 0.72) {
      let n = 0;
      server.refuse = () => (n++ < 2 ? { code: random() < 0.5 ? "store_unavailable" : "rate_limited", retry_after: 1 } : null);
    }
    await clock.pass(random() * 3000);
  }
  server.up = true;
  server.deaf = false;
  server.refuse = null;
  server.breakAll();
  await clock.pass(300_000);
  return { server, storage, tabs, written };
}

const seeds = Array.from({ length: 60 }, (_, i) => i + 1);

for (const seed of seeds)
  test(`nothing is lost and nothing is doubled, seed ${seed}`, async () => {
    const { server, storage, tabs, written } = await run(seed);
    assert.deepEqual(server.texts().sort(), written.sort());
    for (const [i] of tabs.entries()) {
      const mine = server.texts().filter((text) => text.startsWith(`${i}:`));
      assert.deepEqual(mine, mine.map((_, n) => `${i}:${n}`), "each tab's messages are in its order");
    }
    for (const t of tabs) {
      const seen = t.engine.thread.events.map((e) => e.part?.text);
      assert.deepEqual(seen, server.open?.events.map((e) => e.part?.text), "all tabs show the log");
      assert.equal(t.engine.outbox.list().length, 0);
      t.engine.stop();
    }
    assert.equal(storage.names().filter((k) => k.startsWith("out.")).length, 0);
    assert.equal(server.visitors, 1);
  });

test("control: a server that knows no repeats gets doubles", async () => {
  let doubled = 0;
  for (const seed of seeds) {
    const { server } = await run(seed, (s) => void (s.remembers = false));
    if (new Set(server.texts()).size < server.texts().length) doubled++;
  }
  assert.ok(doubled > seeds.length / 3, `${doubled} of ${seeds.length} runs had doubles`);
});

test("control: a shelf that keeps nothing over a reload loses messages", async () => {
  let lost = 0;
  for (const seed of seeds) {
    const forgets = (_: Server, storage: Storage) => {
      storage.loses = "out.";
    };
    const { server, written } = await run(seed, forgets);
    if (server.texts().length < written.length) lost++;
  }
  assert.ok(lost > seeds.length / 3, `${lost} of ${seeds.length} runs lost something`);
});
