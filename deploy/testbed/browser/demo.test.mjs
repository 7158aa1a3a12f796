// The demo, as whoever tries turnout has it: a customer in the shop and an agent in the console, each in a browser, in front
// of the program without a configuration.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { desktop, faults, launch, phone } from "./lib/browser.mjs";
import { Demo } from "./lib/demo.mjs";
import { bubbles, dialog, launcher, open, patience, person, say, sees, shot, until } from "./lib/stage.mjs";

let demo, browser;
/** Where the agents are signed in, for the next story: each password works once. */
const signedIn = {};

before(async () => {
  demo = await Demo.start();
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await demo?.stop();
});

/** A page in a context of its own. It collects what the browser complains of, and everything that comes over its wire. */
async function visit(path, options = {}) {
  const context = await browser.newContext({ ...desktop, ...options });
  context.setDefaultTimeout(patience);
  const page = await context.newPage();
  page.complaints = [];
  page.wire = [];
  page.on("pageerror", (e) => page.complaints.push(`error: ${e.message}`));
  page.on("console", (m) => {
    if (m.type() === "error" && !/Failed to load resource|WebSocket connection to/.test(m.text())) page.complaints.push(m.text());
  });
  page.on("websocket", (ws) => {
    for (const event of ["framesent", "framereceived"]) ws.on(event, ({ payload }) => page.wire.push(`${event} ${payload}`));
  });
  page.on("response", async (r) => {
    if (/event-stream/.test(r.headers()["content-type"] ?? "")) return page.wire.push("event-stream"); // has no end to wait for
    page.wire.push(`${r.url()} ${await r.text().catch(() => "")}`);
  });
  await page.goto(demo.base + path);
  return page;
}

/** A new customer with the chat open. */
async function customer(options) {
  const page = await visit("/", options);
  await open(page);
  return page;
}

async function fillIn(page, login, password) {
  await page.getByLabel("Login").fill(login);
  await page.getByLabel("Password", { exact: true }).fill(password);
  await page.getByRole("button", { name: "Continue" }).click();
}

const inbox = (page) => page.getByRole("complementary", { name: "Inbox" });
const rows = (page) => inbox(page).locator("[data-row]");
/** The pane of the conversation that look or take opened last. */
const pane = (page) => page.locator(".pane").filter({ hasText: page.talk });
const thread = (page) => pane(page).getByRole("log");
const box = (page) => pane(page).getByRole("textbox");

/** Somebody in the console: by the password on the terminal, or in the session that it began. */
async function agent(who, options = {}) {
  const page = await visit("/console/", { storageState: signedIn[who], ...options });
  if (!signedIn[who]) {
    await fillIn(page, who, demo.passwords[who]);
    await inbox(page).waitFor();
    signedIn[who] = await page.context().storageState();
  }
  await inbox(page).waitFor();
  return page;
}

/** Opens the conversation whose row shows a text. */
async function look(page, text) {
  page.talk = text;
  await rows(page).filter({ hasText: text }).click();
  await thread(page).getByText(text).first().waitFor();
}

/** The same, and takes it. */
async function take(page, text) {
  await look(page, text);
  await page.keyboard.press("a");
  await box(page).waitFor();
}

/** Sends a reply or, in note mode, adds a note. A reply is held for a few seconds, and then it is with the customer. */
async function write(page, text) {
  await box(page).fill(text);
  await box(page).press("Control+Enter");
}

/** Gives the conversation back, as the keys do it. */
async function giveBack(page) {
  await box(page).press("Escape");
  await page.keyboard.press("Shift+E");
  await page.getByRole("dialog").getByRole("button", { name: "Give back to the bot" }).click();
}

/** What the customer and those who answer said, in the agent's thread. */
const messages = (page) => thread(page).locator("article.m").allInnerTexts();

/** How often a text stands in each of two threads. */
async function times(c, a, text) {
  const count = (all) => all.filter((m) => m.includes(text)).length;
  return [count(await bubbles(c)), count(await messages(a))];
}

/** Waits until each of the texts stands in each of two threads, and once. */
async function once(c, a, texts) {
  for (const text of texts) {
    let seen;
    await until(async () => (seen = await times(c, a, text)).every((n) => n === 1)).catch(() => assert.deepEqual(seen, [1, 1], text));
  }
}

test("a bot, a person, a note, the bot again", async () => {
  const c = await customer();
  await say(c, "when do you open?");
  await sees(c, "Monday to Friday from 9 to 18");
  await say(c, "can I speak to someone?");
  await sees(c, "You are next");
  await person(c).waitFor({ state: "hidden" }); // nobody is offered a person who is already coming

  const a = await agent("robin");
  await look(a, "can I speak to someone?");
  await thread(a).getByText("Handed off by rule asked-for-person").waitFor();
  for (const text of ["when do you open?", "We are open Monday to Friday", "can I speak to someone?", "Who asks for a person gets one"]) {
    await thread(a).getByText(text).first().waitFor();
  }
  await a.keyboard.press("a");
  await box(a).waitFor();
  await sees(c, "A person is answering");
  await dialog(c).getByRole("heading", { level: 2, name: "Robin Sample", exact: true }).waitFor();

  await write(a, "Good morning, Robin here. What can I do?");
  await sees(c, "Good morning, Robin here.");
  await say(c, "my teapot came without its lid");
  await thread(a).getByText("my teapot came without its lid").waitFor();
  await shot(a, "demo-console");
  await shot(c, "demo-customer");

  const note = "has complained before, be generous: voucher LID-7733";
  await pane(a).getByRole("button", { name: "Note" }).click();
  await box(a).fill(note);
  await shot(a, "demo-note");
  await box(a).press("Control+Enter");
  await thread(a).getByText(note).waitFor();
  await pane(a).getByRole("button", { name: "Reply" }).click();
  await write(a, "A new lid leaves us today.");
  await sees(c, "A new lid leaves us today.");

  await giveBack(a);
  await sees(c, "The assistant answers again");
  await say(c, "hello again");
  await sees(c, "Hello. I can tell you our opening hours");

  // The wire is written down a little after the page has what came over it.
  await until(async () => ["A new lid leaves us today.", "Hello. I can tell you our opening hours"].every((text) => c.wire.join("\n").includes(text)) && a.wire.join("\n").includes("LID-7733"));
  // What the customer's browser was ever sent, and all that it shows, is without the note; and the record is no empty one.
  const shown = (await c.content()) + (await c.locator("[data-turnout]").evaluate((e) => e.shadowRoot.innerHTML));
  const wire = c.wire.join("\n");
  for (const part of [note, "LID-7733", "be generous"]) {
    assert.equal(wire.includes(part), false, "the note is on the customer's wire");
    assert.equal(shown.includes(part), false, "the note is in the customer's page");
  }
  for (const text of ["A new lid leaves us today.", "Hello. I can tell you our opening hours"]) assert.ok(wire.includes(text), `the record lacks ${text}`);
  assert.ok(!wire.includes("event-stream"), "something went another way than what is recorded");
  assert.ok(a.wire.join("\n").includes("LID-7733"), "a record would have shown it");
  assert.deepEqual(c.complaints, []);
  assert.deepEqual(a.complaints, []);
  await c.context().close();
  await a.context().close();
});

test("a password works once, and the page says so", async () => {
  const page = await visit("/console/");
  await fillIn(page, "robin", demo.passwords.robin);
  await page.getByRole("alert").getByText("works once").waitFor();
  assert.equal(demo.log.includes(demo.passwords.robin), false);
  await page.context().close();
});

test("the gateway is killed in the middle and started again", async () => {
  const c = await customer();
  await say(c, "I didn't make this charge");
  await sees(c, "You are next");
  const a = await agent("robin");
  await take(a, "I didn't make this charge");
  await write(a, "I am looking at it.");
  await sees(c, "I am looking at it.");

  await say(c, "it was 389.00 on Sunday");
  await write(a, "Which card was it?"); // in its hold, or not yet there at all
  await demo.kill();
  await say(c, "and my card is still here");
  await sees(c, "Waits for the connection");
  await box(a).fill("One moment, please.");
  await box(a).press("Control+Enter");
  await shot(c, "demo-killed-customer");
  await shot(a, "demo-killed-console");
  await demo.run();

  const said = ["I didn't make this charge", "I am looking at it.", "it was 389.00 on Sunday", "Which card was it?", "and my card is still here", "One moment, please."];
  for (const text of said) await until(async () => (await times(c, a, text)).every((n) => n > 0));
  await until(async () => !(await bubbles(c)).some((b) => b.startsWith("waiting")));
  for (const page of [c, a]) {
    await page.reload();
  }
  await open(c);
  await sees(c, "One moment, please.");
  await thread(a).getByText("One moment, please.").waitFor();
  await once(c, a, said);
  await dialog(c).getByRole("heading", { level: 2, name: "Robin Sample", exact: true }).waitFor(); // it is still Robin's

  // A second death, with nothing under way: what is there is there.
  await demo.kill();
  await demo.run();
  await say(c, "are you still with me?");
  await thread(a).getByText("are you still with me?").waitFor();
  await write(a, "I am.");
  await sees(c, "I am.");
  await once(c, a, [...said, "are you still with me?"]);
  await c.context().close();
  await a.context().close();
});

test("the network goes on each side and comes back", async () => {
  const c = await customer();
  await say(c, "THIS IS USELESS!!! I asked three times");
  await sees(c, "You are next");
  const a = await agent("robin");
  await take(a, "THIS IS USELESS");

  await c.context().setOffline(true);
  await say(c, "said without a network");
  await sees(c, "Waits for the connection");
  await write(a, "Robin here, sorry about that.");
  await thread(a).getByText("Robin here, sorry about that.").waitFor();
  await shot(c, "demo-offline-customer");
  await c.context().setOffline(false);
  await sees(c, "Robin here, sorry about that.");
  await thread(a).getByText("said without a network").waitFor();

  await a.context().setOffline(true);
  await write(a, "written in a tunnel");
  await say(c, "nobody there?");
  await shot(a, "demo-offline-console");
  await a.context().setOffline(false);
  await thread(a).getByText("nobody there?").waitFor();
  await sees(c, "written in a tunnel");
  await once(c, a, ["said without a network", "Robin here, sorry", "written in a tunnel", "nobody there?"]);
  await c.context().close();
  await a.context().close();
});

test("nothing is wrong with how it looks, in sizes and themes", async () => {
  const a = await agent("olga");
  for (const colorScheme of ["light", "dark"]) {
    for (const [size, options] of Object.entries({ desktop, phone })) {
      const look = async (page, what) => {
        await shot(page, `demo-${what}-${size}-${colorScheme}`);
        assert.deepEqual(await faults(page), [], `${what}, ${size}, ${colorScheme}`);
        assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${what}, ${size}: wider than the window`);
      };
      const as = { ...options, colorScheme, reducedMotion: "reduce", bypassCSP: true }; // the checker is a script
      const c = await visit("/", as);
      await launcher(c).waitFor();
      await look(c, "shop");
      await c.getByRole("button", { name: "Add to basket" }).click();
      await c.locator(".basket b").getByText("1", { exact: true }).waitFor();
      await open(c);
      await say(c, "where is my order?");
      await dialog(c).getByRole("button", { name: "KL-2041" }).click();
      await sees(c, "delivered today at 11:02");
      await look(c, "shop-bot");
      const words = `do you ship to Norway, asks ${size} in the ${colorScheme}?`;
      await say(c, words);
      await sees(c, "I would rather have a person answer that.");
      assert.ok(!c.wire.join("\n").includes("most countries"), "the bot's guess is on the customer's wire");
      await look(c, "shop-waiting");
      await take(a, words);
      await thread(a).getByText("low-confidence").first().waitFor();
      await write(a, "Yes, we do: 9.00, and five working days.");
      await sees(c, "Yes, we do: 9.00");
      await look(c, "shop-person");
      await c.context().close();

      const signin = await visit("/console/", as);
      await signin.getByLabel("Login").waitFor();
      await look(signin, "signin");
      await signin.context().close();
      const desk = await agent("olga", as);
      await rows(desk).filter({ hasText: "Yes, we do: 9.00" }).first().click();
      await desk.getByRole("log").getByText("low-confidence").first().waitFor();
      await look(desk, "desk");
      await desk.context().close();
    }
  }
  await a.context().close();
});
