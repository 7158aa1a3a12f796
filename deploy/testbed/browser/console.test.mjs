// Agents at work in the console, against the real gateway.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { agentApi, box, clear, Customer, pane, password, people, row, signIn, thread } from "./lib/desk.mjs";
import { shot, stage, until as holds } from "./lib/stage.mjs";

const wide = { viewport: { width: 1440, height: 900 } };
const s = stage({ more: people() });

afterEach(async () => {
  for (const context of s.browser?.contexts() ?? []) await context.close();
  await clear(s.gateway);
});

/** A picture of one pixel. */
const pixel = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==", "base64");

/** A signed-in page. */
async function agent(login = "robin", options = wide) {
  const page = await s.page(options);
  await signIn(page, s.gateway.base, `${login}@shop.example`);
  return page;
}

/** A customer who waits in support. */
async function waiting(name, ...texts) {
  const c = await new Customer(s.gateway, name ? { name } : undefined).come();
  for (const t of texts) await c.say(t);
  await c.human();
  return c;
}

async function accept(page, name) {
  await row(page, name).click();
  await pane(page, name).getByRole("button", { name: /^(Accept|Take over)/ }).click();
  await box(page, name).waitFor();
}

async function reply(page, name, text) {
  await box(page, name).fill(text);
  await box(page, name).press("Control+Enter");
}

/** Everything that was said to a customer, by the store's own word. */
async function said(c) {
  const olga = await agentApi(s.gateway, "olga");
  const { events } = await olga(`conversations/${c.conversation}`);
  return events.filter((e) => e.type === "message.sent" && e.message.by === "agent").map((e) => e.message.text);
}

async function until(what, ok) {
  await holds(ok).catch((e) => assert.fail(`waited in vain: ${what}: ${e.message}`));
}

/** Waits until a box holds exactly this. */
async function reads(page, name, text) {
  let has;
  await until(`the box reads ${JSON.stringify(text)}`, async () => (has = await box(page, name).inputValue()) === text).catch((e) => assert.equal(has, text, e.message));
}

/** Waits until a pane says whose its conversation is. */
const owned = (page, name, owner) => until(`the owner of ${name} is shown as ${owner}`, async () => (await pane(page, name).getAttribute("data-owner")) === owner);

test("from sign-in to the bot again, with the keyboard alone", async () => {
  const page = await s.page(wide);
  const c = await waiting("Erika Mustermann", "Hi, my balance looks wrong", "I did not make this charge!!");
  await page.goto(`${s.gateway.base}/console`); // without its slash
  await page.getByLabel("Login").waitFor();
  await page.keyboard.type("robin@shop.example");
  await page.keyboard.press("Tab");
  await page.keyboard.type("a wrong password");
  await page.keyboard.press("Enter");
  await page.getByRole("alert").waitFor();
  await page.getByLabel("Password", { exact: true }).fill("");
  await page.getByLabel("Password", { exact: true }).focus();
  await page.keyboard.type(password);
  await page.keyboard.press("Enter");
  await row(page, "Erika").waitFor();

  await page.keyboard.press("j");
  await page.keyboard.press("Enter"); // look before accepting
  await thread(page, "Erika").getByText("Handed off by rule fraud-claim").waitFor();
  await thread(page, "Erika").getByText("Somebody who disputes a payment speaks to a person at once.").waitFor();
  await owned(page, "Erika", "queued");
  await page.keyboard.press("a");
  await box(page, "Erika").waitFor();
  await owned(page, "Erika", "agent");
  await until("the focus is in the reply", () => box(page, "Erika").evaluate((e) => e === document.activeElement));

  // Held, taken back with its caret at the end, and said in other words.
  await page.keyboard.type("To quick");
  await page.keyboard.press("Control+Enter");
  await pane(page, "Erika").getByText(/^Sending in \d s$/).waitFor();
  await page.keyboard.press("Control+z");
  await reads(page, "Erika", "To quick");
  await page.keyboard.press("Control+a");
  await page.keyboard.type("Your money is safe.");
  await page.keyboard.press("Control+Enter");
  await thread(page, "Erika").getByText("Sent", { exact: true }).waitFor();
  assert.deepEqual(await said(c), ["Your money is safe."]);

  // A note has its own box and never leaves the house.
  await page.keyboard.press("Escape");
  await page.keyboard.press("n");
  await page.keyboard.type("SECRET-7781 for the team");
  await shot(page, "console-note");
  await pane(page, "Erika").getByText("Internal note. Erika will never see this.").waitFor();
  await page.keyboard.press("Control+Enter");
  await thread(page, "Erika").locator(".note").getByText("SECRET-7781").waitFor();

  // Back to the bot, which answers again.
  await page.keyboard.press("Escape");
  await page.keyboard.press("Shift+E");
  await page.getByRole("dialog").waitFor();
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await row(page, "Erika").waitFor({ state: "detached" });
  await c.say("and what is my limit?");
  const wire = await c.wire("You said: and what is my limit?"); // which comes after all the rest
  assert.ok(!wire.includes("SECRET"), "the note is on the customer's wire");
  assert.ok(wire.includes("Your money is safe."));
  assert.deepEqual(page.complaints, []);
});

test("the line is the owner's, and why it came is told", async () => {
  const c = await new Customer(s.gateway, { name: "Juan Pérez", email: "juan@example.com", fields: { plan: "Gold", balance: 45 } }).come();
  await c.say("hola");
  await c.say("quiero hablar con una persona");
  const page = await agent();
  await accept(page, "Juan");
  const t = thread(page, "Juan");
  assert.equal(await t.locator(".m.cust").first().evaluate((e) => e.classList.contains("o-h") || e.classList.contains("o-q")), false);
  await t.getByText("Handed off: asked for a person").waitFor();
  await c.say("gracias");
  await t.locator(".m.cust.o-h").getByText("gracias").waitFor();
  const about = page.getByRole("complementary", { name: "About Juan Pérez" });
  await about.getByText("juan@example.com").waitFor();
  await about.getByText("Gold").waitFor();
  await about.getByText("asked for a person").waitFor();
  assert.deepEqual(page.complaints, []);
});

test("of two who take it one wins, and the other hears who", async () => {
  await waiting("Kari Nordmann", "any news?");
  const [robin, sam] = [await agent("robin"), await agent("sam")];
  for (const page of [robin, sam]) await row(page, "Kari").click();
  const buttons = [robin, sam].map((page) => pane(page, "Kari").getByRole("button", { name: /^Accept/ }));
  // Sam's claim is on its way when Robin's is done: held by the network until then.
  let go;
  const gate = new Promise((done) => (go = done));
  await sam.route("**/claim", async (r) => (await gate, r.continue()));
  await buttons[1].click();
  await pane(sam, "Kari").getByText("Asking the server").waitFor();
  assert.equal(await pane(sam, "Kari").getAttribute("data-owner"), "queued", "nobody owns before the server says so");
  await buttons[0].click();
  await box(robin, "Kari").waitFor();
  go();
  await pane(sam, "Kari").getByText("Robin Sample was quicker and has it now.").waitFor();
  await owned(sam, "Kari", "agent");
  await pane(sam, "Kari").getByRole("button", { name: /^(Accept|Take over)/ }).waitFor({ state: "detached" });
});

test("passing on takes the conversation along with its note, and the draft of the loser stays", async () => {
  await waiting("Jean Dupont", "bonjour");
  const robin = await agent("robin");
  const sam = await agent("sam");
  await accept(robin, "Jean");
  await robin.keyboard.press("Escape");
  await robin.keyboard.press("t");
  const dialog = robin.getByRole("dialog");
  await dialog.getByRole("radio", { name: /Sam Example/ }).check();
  await dialog.getByLabel(/^Note for/).fill("he wants it in writing");
  await dialog.getByRole("button", { name: "Transfer" }).click();
  await dialog.waitFor({ state: "detached" });
  await row(sam, "Jean").click();
  await thread(sam, "Jean").getByText("he wants it in writing").waitFor();
  await box(sam, "Jean").fill("half a sent");
  // A supervisor takes it away.
  const olga = await agentApi(s.gateway, "olga");
  await olga("presence", {});
  const [{ conversation }] = (await (await agentApi(s.gateway, "sam"))("queue?view=mine")).items;
  await olga(`conversations/${conversation}/claim`, { override: true });
  await pane(sam, "Jean").getByText(/Olga Specimen has this conversation now\. Your draft is kept/).waitFor();
  await owned(sam, "Jean", "agent");
});

test("killed in the middle of a send, it is said once", async () => {
  const c = await waiting("Mario Rossi", "bonifico");
  const page = await agent();
  await accept(page, "Mario");
  await box(page, "Mario").fill("a draft that outlives it all");
  await page.getByText("All drafts saved").waitFor();
  // The request reaches the server; its answer does not reach the page.
  await page.route("**/reply", async (r) => {
    await r.fetch().catch(() => {});
    await s.gateway.kill();
    await r.abort().catch(() => {});
    await page.unroute("**/reply");
  });
  await reply(page, "Mario", "once and once only");
  await page.locator(".status").getByText(/^Offline since/).waitFor();
  // Whether the log came to show it before the end or not: it shows once, and is still to be asked for again.
  await page.getByText("1 to send").waitFor();
  const once = async () => (await thread(page, "Mario").getByText("once and once only").count()) === 1;
  await until("it shows once", once);
  await page.reload().catch(() => {}); // nobody is there: the browser says so
  await s.gateway.run();
  await page.goto(`${s.gateway.base}/console/`);
  await thread(page, "Mario").getByText("once and once only").waitFor();
  await until("it is said", async () => (await said(c)).length > 0);
  await page.getByText(/^\d+ to send$/).waitFor({ state: "detached" }); // whatever was still to be asked for again has its answer
  assert.deepEqual(await said(c), ["once and once only"]);
  await until("it shows once", once);
});

test("without a network one reads and writes on, and all of it leaves in its order", async () => {
  const c = await waiting("Joe Bloggs", "my loan");
  const page = await agent();
  await accept(page, "Joe");
  s.gateway.wire.cut();
  await page.locator(".status").getByText(/^Offline since/).waitFor();
  for (const text of ["first", "second", "third"]) await reply(page, "Joe", text);
  await page.getByText("3 to send").waitFor();
  await box(page, "Joe").fill("a draft");
  await page.getByText("All drafts saved").waitFor();
  await shot(page, "console-offline");
  s.gateway.wire.mend();
  await page.getByText("Live", { exact: true }).waitFor();
  await until("all is said", async () => (await said(c)).length >= 3);
  await page.getByText(/^\d+ to send$/).waitFor({ state: "detached" });
  assert.deepEqual(await said(c), ["first", "second", "third"]);
  await page.reload();
  await reads(page, "Joe", "a draft");
});

test("what was written for the team never becomes a reply by itself", async () => {
  const c = await waiting("Ola Nordmann", "standing order");
  const page = await agent();
  await accept(page, "Ola");
  const p = pane(page, "Ola");
  await box(page, "Ola").fill("to the customer");
  await p.getByRole("button", { name: "Note" }).click();
  await reads(page, "Ola", ""); // a note begins with its own draft
  await box(page, "Ola").fill("valuation is 4 % low, do not quote");
  await p.getByRole("button", { name: "Reply" }).click();
  const ask = page.getByRole("alertdialog", { name: "Keep this as a note?" });
  await ask.getByRole("button", { name: /^Keep as note/ }).click();
  await p.locator(".comp.notem").waitFor();
  await p.getByRole("button", { name: "Reply" }).click();
  await ask.getByRole("button", { name: "Start an empty reply" }).click();
  await reads(page, "Ola", "to the customer");
  // The draft of the note is still there, and pasting it here is asked about.
  await box(page, "Ola").evaluate((e) => {
    const data = new DataTransfer();
    data.setData("text/plain", "valuation is 4 % low, do not quote");
    e.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
  });
  await page.getByRole("alertdialog", { name: "This was written for the team" }).getByRole("button", { name: /^Do not paste/ }).click();
  await reads(page, "Ola", "to the customer");
  await p.getByRole("button", { name: "Note" }).click();
  await reads(page, "Ola", "valuation is 4 % low, do not quote");
  await box(page, "Ola").press("Control+Enter");
  await thread(page, "Ola").locator(".note").waitFor();
  assert.deepEqual(await said(c), []);
});

test("put aside, taken up, resolved", async () => {
  const c = await waiting("Ana Ejemplo", "the lab results");
  const page = await agent();
  await accept(page, "Ana");
  await page.keyboard.press("Escape");
  await page.keyboard.press("s");
  await page.getByRole("button", { name: /^1 hour/ }).click();
  await page.getByRole("navigation", { name: "Views" }).getByRole("button", { name: /Snoozed\s*1/ }).click();
  await row(page, "Ana").click();
  await pane(page, "Ana").getByRole("button", { name: "Take it up" }).click();
  await pane(page, "Ana").getByText(/^Put aside until/).waitFor({ state: "detached" });
  await reply(page, "Ana", "All is well.");
  await thread(page, "Ana").getByText("Sent", { exact: true }).waitFor();
  await pane(page, "Ana").getByRole("button", { name: "Transfer, put aside, resolve and more" }).click();
  await page.getByRole("menuitem", { name: /^Resolve/ }).click();
  await page.getByRole("dialog").getByLabel(/^Note/).fill("told her");
  await page.getByRole("dialog").getByRole("button", { name: /^Resolve/ }).click();
  await row(page, "Ana").waitFor({ state: "detached" });
  await c.wire('"closed"');
  assert.deepEqual(page.complaints, []);
});

test("what the same customer wanted before can be read, also what only the bot saw", async () => {
  const c = await new Customer(s.gateway, { name: "Fulana de Tal" }, "brief").come();
  await c.say("will my card work in Portugal?");
  const before = c.conversation;
  await c.human();
  const robin = await agentApi(s.gateway, "robin");
  await robin("presence", {});
  await robin(`conversations/${before}/claim`, {});
  await robin(`conversations/${before}/reply`, { text: "Yes, it will." });
  await robin(`conversations/${before}/resolve`, {});
  const closed = Date.now();
  await until("it is too late to reopen it", () => Date.now() > closed + 1);
  await c.say("hello again");
  assert.notEqual(c.conversation, before);
  await c.human();
  const page = await agent();
  await row(page, "Fulana").click();
  await page.getByRole("complementary", { name: "About Fulana de Tal" }).getByRole("button", { name: /will my card work in Portugal/ }).click();
  await page.getByRole("dialog").getByText("Yes, it will.").waitFor();
  await page.getByRole("dialog").getByRole("button", { name: /^Close/ }).click();
  assert.deepEqual(page.complaints, []);
});

test("a long thread is a stretch of its log, and all of it can be reached", async () => {
  const c = await waiting("Pat Placeholder", "the very first words");
  const page = await agent();
  await accept(page, "Pat");
  const robin = await agentApi(s.gateway, "robin");
  for (let i = 1; i <= 400; i++) {
    await robin(`conversations/${c.conversation}/note`, { text: `entry ${i} of many` }).catch(async (e) => {
      if (e.status !== 429) throw e;
      i--;
      await new Promise((done) => setTimeout(done, 500));
    });
  }
  await thread(page, "Pat").getByText("entry 400 of many").waitFor();
  await page.reload();
  const t = thread(page, "Pat");
  await t.getByText("entry 400 of many").waitFor();
  assert.ok((await t.locator("[data-key]").count()) <= 130, "the page holds a stretch");
  await until("the beginning", async () => {
    await t.evaluate((e) => (e.scrollTop = 0));
    return (await t.getByText("the very first words").count()) > 0;
  });
  assert.ok((await t.locator("[data-key]").count()) <= 200);
  await pane(page, "Pat").getByRole("button", { name: /To the end|new below/ }).click();
  await t.getByText("entry 400 of many").waitFor();
});

test("the customer's typing shows, and their file is something to save", async () => {
  const c = await waiting("Max Mustermann", "mein Rezept");
  const page = await agent();
  await accept(page, "Max");
  await until("typing shows", async () => {
    await c.typing(true);
    return (await thread(page, "Max").getByText("is typing").count()) > 0;
  });
  await c.typing(false);
  await thread(page, "Max").getByText("is typing").waitFor({ state: "detached" });

  await c.send("rezept.svg", Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'), "hier").catch((e) => assert.match(e.message, /not taken/));
  await c.send("foto.png", pixel, "hier ist es");
  const picture = thread(page, "Max").locator("img");
  await until("the picture is drawn", () => picture.evaluate((e) => e.complete && e.naturalWidth > 0));
  const [download] = await Promise.all([page.waitForEvent("download"), thread(page, "Max").getByRole("link", { name: /foto\.png/ }).click()]);
  assert.equal(download.suggestedFilename(), "foto.png");
  // Nothing that somebody writes becomes markup, and what looks like a link only leads where it says.
  await c.say('<img src=x onerror="document.title=1"> see https://example.com/a?b=1, javascript:alert(1)');
  const link = thread(page, "Max").getByRole("link", { name: "https://example.com/a?b=1" });
  await link.waitFor();
  assert.match(await link.getAttribute("rel"), /noopener/);
  assert.equal(await thread(page, "Max").locator("img").count(), 1);
  assert.deepEqual(page.complaints, []);
});

test("single letters can be turned off", async () => {
  await waiting("Jan Modaal", "factuur");
  const page = await agent();
  await row(page, "Jan").click();
  await page.keyboard.press("?");
  await page.getByLabel("Single letters are keys outside of text fields").uncheck();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await page.keyboard.press("a");
  await page.keyboard.press("?");
  assert.equal(await page.getByRole("dialog").count(), 0);
  await owned(page, "Jan", "queued");
  await page.keyboard.press("Control+k");
  await page.getByRole("combobox").fill("accept jan");
  await page.keyboard.press("Enter");
  await box(page, "Jan").waitFor();
});

test("A takes what has the focus, opened or not, and with nothing open who is next", async () => {
  for (const choose of [async () => {}, (page) => page.keyboard.press("j")]) {
    await waiting("Nina Next", "is anybody there?");
    const page = await agent();
    await page.locator("[data-row]").first().waitFor();
    await choose(page);
    await page.keyboard.press("a");
    await page.locator('.pane[data-owner="agent"]').waitFor();
    await until("there is one pane", async () => (await page.locator(".pane").count()) === 1);
    await page.context().close();
    await clear(s.gateway);
  }
});
