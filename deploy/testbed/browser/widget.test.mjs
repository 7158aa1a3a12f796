// The chat on a customer's site: what it does.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { afterEach, test } from "node:test";
import { identitySecret } from "./lib/gateway.mjs";
import { bubbles, dialog, field, later, launcher, log, open, person, say, sees, shot, shows, stage, until } from "./lib/stage.mjs";

const s = stage();

afterEach(async () => {
  await s.tidy();
});

test("under a strict policy: the bot, a person, the bot again", async () => {
  const page = await s.page();
  const violations = [];
  await page.exposeFunction("violated", (v) => violations.push(v));
  await page.addInitScript(() => addEventListener("securitypolicyviolation", (e) => window.violated(`${e.violatedDirective} ${e.blockedURI}`)));
  await page.goto(s.site.origin);
  const names = () => page.evaluate(() => Object.keys(window));
  await launcher(page).waitFor();
  await open(page);
  await say(page, "where is my order?");
  await shows(page, ["me: where is my order?", "bot: You said: where is my order?"]);

  await person(page).click();
  await sees(page, "You are next");
  await person(page).waitFor({ state: "hidden" });
  const [id] = await s.gateway.queue();
  await s.gateway.agent("presence", {});
  await s.gateway.agent(`conversations/${id}/claim`, {});
  await sees(page, "A person is answering");
  await dialog(page).getByRole("heading", { level: 2, name: "Lou Specimen", exact: true }).waitFor();
  await s.gateway.agent(`conversations/${id}/note`, { text: "the customer never sees this" });
  await s.gateway.agent(`conversations/${id}/reply`, { text: "Hello, **Lou** here." });
  await sees(page, "Hello, Lou here.");
  await say(page, "hello Lou");
  const calls = s.gateway.bot.calls.length;
  await until(async () => JSON.stringify(await s.gateway.agent(`conversations/${id}`)).includes("hello Lou"));
  assert.equal(s.gateway.bot.calls.length, calls, "the bot is not asked while a person has it");

  await s.gateway.agent(`conversations/${id}/release`, {});
  await sees(page, "The assistant answers again");
  await person(page).waitFor();
  await say(page, "and the bot?");
  await sees(page, "You said: and the bot?");
  assert.equal((await page.content()).includes("never sees this"), false);
  assert.equal(await page.locator("[data-turnout]").evaluate((e) => e.shadowRoot.textContent.includes("never sees this")), false);
  assert.deepEqual(violations, []);
  assert.deepEqual(page.complaints, []);

  const plain = await s.page();
  await plain.exposeFunction("violated", () => {});
  await plain.goto(`${s.site.origin}/shop.css`);
  const bare = await plain.evaluate(() => Object.keys(window));
  assert.deepEqual((await names()).filter((n) => !bare.includes(n)), ["turnout"], "one name is left on the page");
});

test("the page for channel admins tells the truth: its tag and its policy are enough", async () => {
  const readme = readFileSync(new URL("../../../adapters/README.md", import.meta.url), "utf8").split("## Five minutes: put the chat on your site")[1];
  const block = (kind) => new RegExp("```" + kind + "\\n(.*?)```", "s").exec(readme)[1].trim();
  const here = (text) => text.replaceAll("https://chat.acme.example", s.gateway.base).replaceAll("wss://chat.acme.example", s.gateway.base.replace("http", "ws")).replaceAll("acme.web", "shop.web");
  s.site.policy = `default-src 'none'; style-src 'self'; require-trusted-types-for 'script'; ${here(block("text"))}`;
  s.site.head = here(block("html"));
  const page = await s.page();
  await page.goto(`${s.site.origin}/bare.html`);
  await open(page);
  await say(page, "five minutes");
  await sees(page, "You said: five minutes");
  assert.deepEqual(page.complaints, []);

  // A nonce instead of the address, and no script tag but that one.
  s.site.policy = `default-src 'none'; style-src 'self'; script-src 'nonce-abc'; ${here(block("text")).split("; ")[1]}`;
  s.site.head = here(block("html")).replace("<script ", '<script nonce="abc" ');
  await page.goto(`${s.site.origin}/bare.html`);
  await open(page);
  await sees(page, "You said: five minutes");
  assert.deepEqual(page.complaints, []);
});

test("the place in line moves when those ahead are helped", async () => {
  const first = await s.chat();
  await person(first).click();
  await sees(first, "You are next");
  const second = await s.chat();
  await person(second).click();
  await sees(second, "2nd in line");
  await shot(second, "second-in-line");
  await s.gateway.agent("presence", {});
  const [id] = await s.gateway.queue();
  await s.gateway.agent(`conversations/${id}/claim`, {});
  await sees(second, "You are next");
});

test("asking for a person while the bot is at work", async () => {
  const answer = later();
  s.gateway.bot.say = () => answer;
  const page = await s.chat();
  await say(page, "hello?");
  await sees(page, "The assistant is writing");
  await shot(page, "thinking");
  await person(page).click();
  await sees(page, "You are next");
  answer.fulfil("too late");
  await s.gateway.agent("presence", {});
  const [id] = await s.gateway.queue();
  await s.gateway.agent(`conversations/${id}/claim`, {});
  await s.gateway.agent(`conversations/${id}/reply`, { text: "Lou here" });
  await sees(page, "Lou here");
  assert.equal((await bubbles(page)).some((b) => b.includes("too late")), false);
});

test("nothing is shown as done before the server says so", async () => {
  const page = await s.chat();
  await say(page, "first");
  await sees(page, "You said: first");
  s.gateway.wire.cut();
  await person(page).click();
  await sees(page, "Asking for a person");
  await say(page, "second");
  await sees(page, "Waits for the connection");
  await sees(page, "The chat cannot be reached");
  assert.equal(await dialog(page).getByText("You are next").count(), 0);
  await shot(page, "cut");
  s.gateway.wire.mend();
  await sees(page, "You are next");
  await until(async () => !(await bubbles(page)).some((b) => b.startsWith("waiting")));
  await until(async () => (await bubbles(page)).filter((b) => b === "me: second").length === 1);
});

test("the page is loaded again in the middle of a turn", async () => {
  const answer = later();
  s.gateway.bot.say = () => answer;
  const page = await s.chat();
  await say(page, "slow one");
  await sees(page, "The assistant is writing");
  await field(page).fill("half a thou");
  await page.reload();
  await open(page);
  await sees(page, "The assistant is writing");
  await until(async () => (await field(page).inputValue()) === "half a thou"); // what was being written is still there
  answer.fulfil("done at last");
  await shows(page, ["me: slow one", "bot: done at last"]);
  assert.equal(s.gateway.bot.calls.filter((c) => c.text === "slow one").length, 1);
});

test("the server is killed in the middle of a turn and comes back", async () => {
  const held = later();
  s.gateway.bot.say = (text) => (text === "before" ? held : `You said: ${text}`);
  const page = await s.chat();
  await say(page, "before");
  await until(async () => s.gateway.bot.calls.some((c) => c.text === "before"));
  await s.gateway.kill();
  await say(page, "during");
  await sees(page, "Waits for the connection");
  await page.reload(); // while nobody is there to answer
  await open(page);
  await sees(page, "during");
  s.gateway.bot.say = (text) => `You said: ${text}`;
  await s.gateway.run();
  await sees(page, "You said: before");
  await sees(page, "You said: during");
  held.fulfil("from another life");
  await say(page, "after");
  await sees(page, "You said: after");
  const seen = await bubbles(page);
  for (const text of ["before", "during", "after"]) {
    assert.equal(seen.filter((b) => b === `me: ${text}`).length, 1, `${text} in ${seen}`);
    assert.equal(seen.filter((b) => b === `bot: You said: ${text}`).length, 1, `${text} in ${seen}`);
  }
  const turns = s.gateway.bot.calls.filter((c) => c.text === "before");
  assert.ok(turns.length > 1 && turns.every((c) => c.id === turns[0].id), "the turn was put again, under its own id");
});

test("the network goes and comes back", async () => {
  const page = await s.chat();
  await say(page, "one");
  await sees(page, "You said: one");
  await page.context().setOffline(true);
  s.gateway.wire.cut();
  await sees(page, "You are offline");
  await say(page, "two");
  await say(page, "three");
  await sees(page, "Waits for the connection");
  await until(async () => (await bubbles(page)).filter((b) => b.startsWith("waiting me")).length === 2);
  await shot(page, "offline");
  s.gateway.wire.mend();
  await page.context().setOffline(false);
  await until(async () => {
    const mine = (await bubbles(page)).filter((b) => b.includes("me: "));
    return JSON.stringify(mine) === JSON.stringify(["me: one", "me: two", "me: three"]);
  });
  await until(async () => !(await dialog(page).getByText("You are offline").isVisible()));
});

test("two tabs are one conversation", async () => {
  const a = await s.chat();
  const b = await s.tab(a.context());
  await b.goto(s.site.origin);
  await open(b);
  await say(a, "from the first");
  await sees(b, "You said: from the first");
  await say(b, "from the second");
  const want = ["me: from the first", "bot: You said: from the first", "me: from the second", "bot: You said: from the second"];
  await shows(a, want);
  await shows(b, want);
});

test("somebody answers while the chat is closed, on the next page too", async () => {
  const page = await s.chat();
  await person(page).click();
  await sees(page, "You are next");
  await page.keyboard.press("Escape");
  await page.reload();
  await s.gateway.agent("presence", {});
  const [id] = await s.gateway.queue();
  await s.gateway.agent(`conversations/${id}/claim`, {});
  await s.gateway.agent(`conversations/${id}/reply`, { text: "Are you still there?" });
  await page.getByRole("button", { name: "Open the chat, 1 new message" }).waitFor();
  await shot(page, "unread");
  await open(page);
  await sees(page, "Are you still there?");
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Open the chat", exact: true }).waitFor();
  await s.gateway.agent(`conversations/${id}/resolve`, {});
});

test("the keyboard is enough, and focus goes where the work is", async () => {
  const page = await s.page();
  await page.goto(s.site.origin);
  await launcher(page).waitFor();
  const focused = () => page.evaluate(() => document.activeElement?.shadowRoot?.activeElement?.className || document.activeElement?.shadowRoot?.activeElement?.localName || "");
  await until(async () => (await page.keyboard.press("Tab"), (await focused()) === "launch"));
  await page.keyboard.press("Enter");
  await dialog(page).waitFor();
  await until(async () => (await focused()) === "textarea");
  await page.keyboard.type("line one");
  await page.keyboard.press("Shift+Enter");
  await page.keyboard.type("line two");
  await page.keyboard.press("Enter");
  await shows(page, ["me: line one\nline two", "bot: You said: line one\nline two"]);
  await until(async () => (await page.keyboard.press("Shift+Tab"), (await focused()).includes("tw-person")));
  await page.keyboard.press("Space");
  await sees(page, "You are next");
  await until(async () => (await focused()) === "textarea"); // the button is gone: focus is not lost with it
  await page.keyboard.press("Escape");
  await dialog(page).waitFor({ state: "hidden" });
  await until(async () => (await focused()) === "launch");
});

test("keys typed into the chat are nothing to the page", async () => {
  const page = await s.page();
  await page.goto(s.site.origin);
  await page.evaluate(() => {
    window.heard = 0;
    addEventListener("keydown", () => window.heard++);
  });
  await open(page);
  await field(page).pressSequentially("s/?");
  assert.equal(await page.evaluate(() => window.heard), 0);
});

test("in a single-page app it comes, goes and comes back", async () => {
  const page = await s.page();
  await page.goto(`${s.site.origin}/app.html`);
  await open(page);
  await say(page, "hello");
  await sees(page, "You said: hello");
  const sockets = [];
  page.on("websocket", (w) => sockets.push(w));
  await page.getByRole("link", { name: "Account" }).click();
  await page.locator("[data-turnout]").waitFor({ state: "detached" });
  await page.getByRole("link", { name: "Orders" }).click();
  await launcher(page).waitFor();
  await open(page);
  await shows(page, ["me: hello", "bot: You said: hello"]);
  for (let i = 0; i < 5; i++) {
    await page.getByRole("link", { name: "Account" }).click();
    await page.getByRole("link", { name: "Orders" }).click();
  }
  await page.evaluate(() => turnout.open());
  await shows(page, ["me: hello", "bot: You said: hello"]);
  await until(async () => (await page.locator("[data-turnout]").count()) === 1);
  await until(async () => sockets.filter((w) => !w.isClosed()).length === 1);
  assert.deepEqual(page.complaints, []);
});

test("a page hears what happens, and signs its user out", async () => {
  const page = await s.page();
  await page.goto(`${s.site.origin}/app.html`);
  await page.evaluate(() => {
    window.heard = [];
    turnout.on("open", () => window.heard.push("open"));
    turnout.on("message", (m) => window.heard.push(`${m.by}: ${m.text}`));
    turnout.on("message", () => {
      throw new Error("the page's own trouble");
    });
  });
  await open(page);
  await say(page, "secret");
  await sees(page, "You said: secret");
  await page.waitForFunction(() => window.heard.length >= 2);
  assert.deepEqual(await page.evaluate(() => window.heard), ["open", "bot: You said: secret"]);
  await page.evaluate(() => turnout.reset());
  await shows(page, []);
  await page.waitForFunction(() => !JSON.stringify({ ...localStorage, ...sessionStorage }).includes("secret"));
  await page.reload();
  await open(page);
  await sees(page, "Ask anything");
});

test("the site vouches for its user", async () => {
  const part = (v) => Buffer.from(JSON.stringify(v)).toString("base64url");
  const body = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub: "k-17", name: "Jane Sample", exp: Math.floor(Date.now() / 1000) + 600 })}`;
  const jwt = `${body}.${createHmac("sha256", identitySecret).update(body).digest("base64url")}`;
  const page = await s.page();
  await page.goto(s.site.origin);
  await launcher(page).waitFor();
  await page.evaluate((token) => {
    window.asked = 0;
    return turnout.identify(() => (window.asked++, Promise.resolve(token)));
  }, jwt);
  assert.equal(await page.evaluate(() => window.asked), 0, "nobody is asked before anybody chats");
  await open(page);
  await until(() => page.evaluate(() => window.asked === 1));
  await say(page, "who am I?");
  await sees(page, "You said: who am I?");
  await person(page).click();
  await sees(page, "You are next");
  const rows = (await s.gateway.agent("queue")).items;
  assert.ok(rows.some((r) => r.customer === "Jane Sample"), JSON.stringify(rows));
  const refused = await page.evaluate(() => turnout.identify("nonsense").then(() => "taken", (e) => e.code));
  assert.equal(refused, "unauthenticated");
});

test("files: picked, dropped and pasted, refused with a reason, and there again", async () => {
  const page = await s.chat();
  const pixels = await page.screenshot({ clip: { x: 48, y: 84, width: 420, height: 300 } });
  const chooser = page.waitForEvent("filechooser");
  await dialog(page).getByRole("button", { name: "Attach a file" }).click();
  await (await chooser).setFiles([
    { name: "receipt.txt", mimeType: "text/plain", buffer: Buffer.from("one teapot") },
    { name: "pot.png", mimeType: "image/png", buffer: pixels },
    { name: "huge.txt", mimeType: "text/plain", buffer: Buffer.alloc(400_000, "x") },
    { name: "page.html", mimeType: "text/html", buffer: Buffer.from("<script>") },
    { name: "liar.png", mimeType: "image/png", buffer: Buffer.from("<!doctype html><script>alert(1)</script>") },
  ]);
  await sees(page, "Too large. Files can have up to 293 KB.");
  await until(async () => (await dialog(page).getByText("Files of this type are not taken.").count()) === 2);
  // Dropped and pasted, as a browser tells of it.
  for (const type of ["drop", "paste"])
    await dialog(page).evaluate((panel, type) => {
      const data = new DataTransfer();
      data.items.add(new File(["more"], `${type}.txt`, { type: "text/plain" }));
      if (type === "drop") panel.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
      else panel.querySelector("textarea").dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
    }, type);
  await until(async () => (await dialog(page).locator(".tw-files li:not(.bad)").count()) === 4);
  await until(async () => (await dialog(page).locator(".tw-files progress").count()) === 0);
  await shot(page, "files");
  await dialog(page).getByRole("button", { name: "Remove paste.txt" }).click();
  await say(page, "here they are");
  await sees(page, "You said: here they are");
  await dialog(page).locator(".tw-files").waitFor({ state: "hidden" });
  await dialog(page).getByRole("button", { name: "Save pot.png" }).locator("canvas").waitFor();
  await shot(page, "files-sent");
  const saved = page.waitForEvent("download");
  await dialog(page).getByRole("button", { name: "Save receipt.txt" }).click();
  const file = await saved;
  assert.equal(file.suggestedFilename(), "receipt.txt");
  await page.reload();
  await open(page);
  await dialog(page).getByRole("button", { name: "Save drop.txt" }).waitFor();
  assert.deepEqual(page.complaints, []);
});

test("what a bot writes is drawn, never run", async () => {
  s.gateway.bot.say = () => [
    "**Bold** and [a link](https://shop.example/a?b=1), not [this](javascript:alert(1)).\n\n- one\n- two\n\n<img src=x onerror=alert(1)>",
    { text: "Which?", choices: [{ id: "a", label: "The first" }, { id: "b", label: "The second" }] },
  ];
  const page = await s.chat();
  let alarmed = false;
  page.on("dialog", (d) => ((alarmed = true), d.dismiss()));
  await say(page, "show me");
  await sees(page, "Which?");
  assert.equal(await log(page).locator("strong").innerText(), "Bold");
  assert.deepEqual(await log(page).locator("li").allInnerTexts(), ["one", "two"]);
  const links = await log(page).locator("a").evaluateAll((all) => all.map((a) => [a.href, a.rel, a.target]));
  assert.deepEqual(links, [["https://shop.example/a?b=1", "noopener noreferrer nofollow", "_blank"]]);
  assert.equal(await log(page).locator("img").count(), 0);
  await sees(page, "<img src=x onerror=alert(1)>");
  s.gateway.bot.say = (text, turn) => `${text} ${turn.message.choice?.id ?? ""}`;
  // The choices go with the press: a second one before the next picture would be a second answer.
  const stays = await dialog(page).getByRole("button", { name: "The second" }).evaluate((b) => (b.click(), b.isConnected));
  assert.equal(stays, false);
  await sees(page, "The second b");
  assert.equal(s.gateway.bot.calls.filter((c) => c.text === "The second").length, 1);
  await dialog(page).getByRole("button", { name: "The first" }).waitFor({ state: "detached" });
  assert.equal(alarmed, false);
});

test("no text makes anything but what a chat draws, and none takes long", async () => {
  s.gateway.bot.say = () => [
    "<script>alert(1)</script><svg onload=alert(1)><iframe src=javascript:alert(1)>",
    "[a](javascript:alert(1)) [b](data:text/html,x) [c](vbscript:x) [d](//evil.example) [e](/relative) [f](JaVaScRiPt:alert(1))",
    "[g](https://ok.example/?q=<img src=x onerror=alert(1)>) **<b onclick=alert(1)>x</b>** `<i>y</i>`",
    "[h](https://ok.example/\"onmouseover=\"alert(1)) https://ok.example/'><img/src=x>",
    "[".repeat(3000) + "](".repeat(500),
    "**a ".repeat(800) + "_".repeat(500) + "*".repeat(500),
    "- ".repeat(600) + "\n" + "> # 1. ".repeat(300),
    "```\n<b>code</b>",
    "\u202e\u2066 turned around \u200b\ufeff",
  ];
  const page = await s.chat();
  let alarmed = false;
  page.on("dialog", (d) => ((alarmed = true), d.dismiss()));
  await say(page, "go");
  await sees(page, "turned around");
  const drawn = await log(page).locator(".tw-m").evaluateAll((all) => all.flatMap((m) => [...m.querySelectorAll("*")].map((e) => e.localName)));
  const allowed = new Set(["p", "br", "a", "strong", "em", "code", "pre", "ul", "ol", "li"]);
  assert.deepEqual([...new Set(drawn)].filter((n) => !allowed.has(n)), []);
  const links = await log(page).locator(".tw-m a").evaluateAll((all) => all.map((a) => ({ to: a.protocol + "//" + a.host, has: a.getAttributeNames().sort().join() })));
  for (const l of links) assert.deepEqual(l, { to: "https://ok.example", has: "href,rel,target" });
  assert.equal(alarmed, false);
  assert.deepEqual(page.complaints, []);
});

test("a message that is too long stays where it is, with the reason", async () => {
  const page = await s.chat();
  await say(page, "é".repeat(1001));
  await sees(page, "The message is too long");
  assert.equal((await field(page).inputValue()).length, 1001);
  await say(page, "é".repeat(1000));
  await until(async () => (await field(page).inputValue()) === "");
});

test("where no WebSocket gets through, it goes without", async () => {
  const page = await s.page();
  await page.addInitScript(() => {
    window.WebSocket = class {
      constructor() {
        setTimeout(() => this.onclose?.({ code: 1006 }), 5);
      }
      close() {}
    };
  });
  await page.goto(s.site.origin);
  await open(page);
  await say(page, "through the other door");
  await sees(page, "You said: through the other door");
  await person(page).click();
  await sees(page, "You are next");
  await page.reload();
  await open(page);
  await sees(page, "You said: through the other door");
});

test("where the browser keeps nothing, it works for as long as the page is there", async () => {
  const page = await s.page();
  await page.addInitScript(() => {
    for (const name of ["localStorage", "sessionStorage"])
      Object.defineProperty(window, name, { get: () => { throw new DOMException("no", "SecurityError"); } });
  });
  await page.goto(s.site.origin);
  await open(page);
  await say(page, "kept nowhere");
  await sees(page, "You said: kept nowhere");
  assert.deepEqual(page.complaints, []);
});

test("a page of an origin that is not listed has no chat, and is told why", async () => {
  const page = await s.page();
  const warnings = [];
  page.on("console", (m) => m.type() === "warning" && warnings.push(m.text()));
  await page.goto(s.site.origin.replace("127.0.0.1", "localhost"));
  await until(async () => warnings.some((w) => w.includes("listed under its origins")));
  assert.equal(await launcher(page).count(), 0);
});

test("a page from before an upgrade asks for parts that are gone, and gets those of today", async () => {
  const page = await s.page();
  await page.route("**/widget.js", async (route) => {
    const answer = await route.fetch();
    await route.fulfill({ response: answer, body: (await answer.text()).replace(/chat-[\w-]{8}\.js/, "chat-00000000.js") });
  });
  await page.goto(s.site.origin);
  await open(page);
  await say(page, "from before");
  await sees(page, "You said: from before");
});

test("when the chat cannot be loaded it says so and shows the way", async () => {
  const page = await s.page();
  let broken = true;
  await page.route("**/widget/chat-*", (route) => (broken ? route.abort() : route.continue()));
  await page.goto(s.site.origin);
  await launcher(page).click();
  const way = page.getByRole("alert").getByRole("link");
  await way.waitFor();
  assert.equal(await way.getAttribute("href"), `${s.gateway.base}/chat/shop.web`);
  broken = false;
  await open(page);
  await page.getByRole("alert").filter({ hasText: "could not be loaded" }).waitFor({ state: "detached" });
});

test("the chat without scripts offers a person while the bot is at work", async () => {
  const answer = later();
  s.gateway.bot.say = () => answer;
  const page = await s.page({ javaScriptEnabled: false });
  await page.goto(`${s.gateway.base}/chat/shop.web`);
  await page.getByLabel("Your message").fill("hello?");
  await page.getByRole("button", { name: "Send" }).click();
  await page.getByText("The assistant is writing").waitFor();
  await shot(page, "plain-thinking");
  await page.getByRole("button", { name: "Talk to a person" }).click();
  await page.getByText("Waiting for a person", { exact: true }).waitFor();
  await shot(page, "plain-waiting");
  answer.fulfil("too late");
});
