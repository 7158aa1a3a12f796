// The chat on a customer's site: how it looks, to eyes and to machines that read for people.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { desktop, faults, phone } from "./lib/browser.mjs";
import { dialog, field, launcher, log, open, person, say, sees, shot, stage, until } from "./lib/stage.mjs";

const s = stage();

afterEach(async () => {
  await s.tidy();
});

async function sound(page, where) {
  assert.deepEqual(await faults(page), [], where);
  const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(over <= 0, `${where}: the page scrolls sideways by ${over} px`);
  if (!(await dialog(page).isVisible())) return;
  const inside = await dialog(page).evaluate((panel) => [...panel.querySelectorAll(".tw-b, .tw-f, .tw-h")].map((e) => e.scrollWidth - e.clientWidth));
  assert.ok(inside.every((n) => n <= 0), `${where}: parts scroll sideways by ${inside}`);
}

/** Goes through every state of a conversation and calls look in each. */
async function tour(page, look) {
  await page.goto(s.site.origin);
  await launcher(page).waitFor();
  await look("closed");
  await open(page);
  await look("empty");
  s.gateway.bot.say = (text) => (text.includes("order") ? "Your order **KL-2041** left us on Friday. You can [follow it](https://courier.example/KL-2041)." : [
    "I’m sorry. That is all the courier tells us.",
    { text: "What would you like?", choices: [{ id: "a", label: "Check with neighbours" }, { id: "b", label: "Send a new one" }, { id: "c", label: "Refund me" }] },
  ]);
  await say(page, "Where is my order?");
  await sees(page, "KL-2041");
  await say(page, "nothing came, and I was in all day");
  await sees(page, "Refund me");
  await look("bot");
  await person(page).click();
  await sees(page, "You are next");
  await look("waiting");
  await s.gateway.agent("presence", {});
  const [id] = await s.gateway.queue();
  await s.gateway.agent(`conversations/${id}/claim`, {});
  await s.gateway.agent(`conversations/${id}/reply`, { text: "Hi Jane, Lou here. I can see the parcel was left at number 14, signed “M”. Is that you?" });
  await sees(page, "Hi Jane");
  await say(page, "no, I’m at 41!");
  await until(async () => (await log(page).getByText("no, I’m at 41!").count()) === 1);
  await s.gateway.agent(`conversations/${id}/reply`, { text: "Then it went to the wrong door. I’m sending a new teapot today, no charge, and we’ll collect the other one." });
  await sees(page, "the wrong door");
  await until(async () => {
    await s.gateway.agent(`conversations/${id}/typing`, {}); // that somebody types is told once, to who is there to hear it
    return dialog(page).getByText("Lou Specimen is writing").first().isVisible();
  });
  await look("person");
  s.gateway.wire.cut();
  await say(page, "are you there?");
  await sees(page, "Waits for the connection");
  await sees(page, "The chat cannot be reached");
  await look("cut");
  s.gateway.wire.mend();
  await until(async () => (await log(page).getByText("are you there?").count()) === 1);
  await s.gateway.agent(`conversations/${id}/resolve`, {});
  await sees(page, "Write any time to go on");
  await look("resolved");
}

for (const [size, device] of Object.entries({ desktop, phone }))
  for (const theme of ["light", "dark"])
    test(`axe finds nothing in any state: ${size}, ${theme}`, async () => {
      s.site.theme = theme === "dark" ? "dark" : "";
      const page = await s.page({ ...device, bypassCSP: true, reducedMotion: "reduce" });
      await tour(page, async (state) => {
        await shot(page, `${size}-${theme}-${state}`);
        await sound(page, `${size}, ${theme}, ${state}`);
      });
      const dark = await dialog(page).evaluate((p) => p.classList.contains("dark"));
      assert.equal(dark, theme === "dark", "dark follows the page");
    });

test("a phone gets a window of its own: modal, whole screen, Tab stays within", async () => {
  const page = await s.page(phone);
  await page.goto(s.site.origin);
  await open(page);
  await page.waitForFunction(() => document.querySelector("[data-turnout]").shadowRoot.querySelector(".tw").getAnimations().length === 0);
  assert.equal(await dialog(page).getAttribute("aria-modal"), "true");
  const box = await dialog(page).boundingBox();
  assert.deepEqual([box.x, box.y, box.width, box.height].map(Math.round), [0, 0, 390, 844]);
  const targets = await dialog(page).locator("button:visible").evaluateAll((all) => all.map((b) => [b.ariaLabel || b.textContent, Math.round(b.getBoundingClientRect().height)]));
  for (const [name, height] of targets) assert.ok(height >= 38, `${name} is ${height} px high`);
  for (let i = 0; i < 12; i++) {
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement?.getAttribute("data-turnout")), "shop.web");
  }
  assert.equal(await dialog(page).evaluate((p) => p.getAttribute("aria-modal")), "true");
});

test("on a desktop the page stays usable beside it", async () => {
  const page = await s.chat();
  assert.equal(await dialog(page).getAttribute("aria-modal"), null);
  await page.getByRole("link", { name: "Care" }).click();
  assert.equal(await dialog(page).isVisible(), true);
});

test("dark follows the page while it is open", async () => {
  const page = await s.chat();
  const dark = () => dialog(page).evaluate((p) => p.classList.contains("dark"));
  assert.equal(await dark(), false);
  await page.evaluate(() => (document.documentElement.dataset.theme = "dark"));
  await until(dark);
  await page.evaluate(() => (document.documentElement.dataset.theme = "light"));
  await until(async () => !(await dark()));
});

test("Spanish comes with it", async () => {
  s.site.lang = "es-MX";
  const page = await s.page({ bypassCSP: true });
  await page.goto(s.site.origin);
  await page.getByRole("button", { name: "Abrir el chat" }).click();
  await sees(page, "Hablar con una persona");
  await until(async () => (await dialog(page).getAttribute("lang")) === "es");
  await person(page).click();
  await sees(page, "Es su turno");
  await shot(page, "spanish");
  await sound(page, "Spanish");
});

test("a language of the site's own, from right to left", async () => {
  const page = await s.page({ ...phone, bypassCSP: true, reducedMotion: "reduce" });
  await page.goto(`${s.site.origin}/app.html`);
  await page.evaluate(() => {
    document.documentElement.lang = "ar";
    document.documentElement.dir = "rtl";
    turnout.language("ar", {
      dir: "rtl", open: "افتح المحادثة", close: "أغلق المحادثة", assistant: "المساعد", waiting: "بانتظار شخص", person: "شخص يجيب الآن",
      hello: "اسأل ما تشاء. المساعد يجيب.", helloPerson: "يمكنك التحدث مع شخص في أي وقت.", talk: "تحدّث مع شخص", asking: "نطلب لك شخصاً",
      write: "اكتب رسالة", send: "إرسال", attach: "أرفق ملفاً", you: "أنت", log: "المحادثة", asked: "طلبت التحدث مع شخص {time}",
      next: "دورك الآن", keep: "نحفظ دورك حتى لو أغلقت النافذة.", since: "منذ {time}", joined: "{name} معك الآن",
    });
    turnout.mount({ channel: "shop.web", lang: "ar" });
  });
  await page.getByRole("button", { name: "افتح المحادثة" }).click();
  assert.equal(await dialog(page).getAttribute("dir"), "rtl");
  await shot(page, "arabic-empty");
  s.gateway.bot.say = () => ["موعدك القادم: الثلاثاء 14:30", { text: "ماذا تريد؟", choices: [{ id: "a", label: "مواعيد الخميس" }, { id: "b", label: "إلغاء الموعد" }] }];
  await field(page).fill("أريد تغيير موعدي");
  await field(page).press("Enter");
  await sees(page, "ماذا تريد؟");
  const mine = await log(page).locator(".me .tw-m").boundingBox();
  const theirs = await log(page).locator(".tw-i:not(.me) .tw-m").first().boundingBox();
  assert.ok(mine.x < theirs.x, "the customer's own words are on the left");
  await shot(page, "arabic-bot");
  await sound(page, "Arabic, the bot");
  await person(page).click();
  await sees(page, "دورك الآن");
  await shot(page, "arabic-waiting");
  await sound(page, "Arabic, waiting");
});

test("200 % zoom and 320 pixels: nothing is cut off", async () => {
  for (const [name, viewport] of [["zoom", { width: 640, height: 400 }], ["narrow", { width: 320, height: 568 }], ["low", { width: 568, height: 320 }]]) {
    const page = await s.page({ viewport, bypassCSP: true, reducedMotion: "reduce" });
    await page.goto(s.site.origin);
    await open(page);
    await say(page, "averyveryveryverylongwordwithoutanyplacetobreakitanywherebetweenitsendsatall https://example.com/a/very/long/address/that/goes/on/and/on");
    await sees(page, "You said: averyvery");
    await shot(page, `reflow-${name}`);
    await sound(page, name);
    for (const part of [person(page), field(page), dialog(page).getByRole("button", { name: "Close the chat" })]) {
      const box = await part.boundingBox();
      assert.ok(box && box.x >= 0 && box.y >= 0 && box.x + box.width <= viewport.width && box.y + box.height <= viewport.height, `${name}: out of sight: ${JSON.stringify(box)}`);
    }
    await page.context().close();
  }
});

test("reduced motion: nothing moves", async () => {
  const page = await s.chat({ reducedMotion: "reduce" });
  s.gateway.bot.say = () => new Promise(() => {});
  await say(page, "hello");
  await sees(page, "The assistant is writing");
  const moving = () => page.evaluate(() => document.querySelector("[data-turnout]").shadowRoot.getAnimations().filter((a) => a.playState === "running").length);
  await until(async () => (await moving()) === 0);
});

test("forced colours: edges and focus are there", async () => {
  const page = await s.chat({ forcedColors: "active" });
  await say(page, "hello");
  await sees(page, "You said: hello");
  await shot(page, "forced-colours");
  const edges = await dialog(page).locator(".tw-m, .tw-person, .tw-in").evaluateAll((all) => all.map((e) => getComputedStyle(e).borderTopWidth));
  assert.ok(edges.length >= 4 && edges.every((w) => w === "1px"), `${edges}`);
  await page.keyboard.press("Shift+Tab");
  await page.keyboard.press("Shift+Tab");
  assert.equal(await person(page).evaluate((e) => getComputedStyle(e).outlineStyle), "solid");
});

test("what is read out: the log, and only what is new in it", async () => {
  const page = await s.chat();
  await say(page, "one");
  await sees(page, "You said: one");
  await page.reload();
  const states = [];
  await page.exposeFunction("note", (v) => states.push(v));
  await open(page);
  await sees(page, "You said: one");
  await until(async () => (await log(page).getAttribute("aria-live")) === "polite");
  await until(async () => (await log(page).getAttribute("aria-busy")) === null);
  await say(page, "two");
  await sees(page, "You said: two");
  const names = await log(page).locator(".tw-i > .tw-vh").allInnerTexts();
  assert.deepEqual(names.map((n) => n.trim()), ["You:", "Assistant:", "You:", "Assistant:"]);
});

test("the button moves nothing on the page", async () => {
  const page = await s.page();
  await page.addInitScript(() => {
    window.shifts = 0;
    new PerformanceObserver((list) => {
      for (const e of list.getEntries()) window.shifts += e.value;
    }).observe({ type: "layout-shift", buffered: true });
  });
  await page.goto(s.site.origin);
  await open(page);
  await sees(page, "Ask anything");
  assert.equal(await page.evaluate(() => window.shifts), 0);
});

test("the chat without scripts passes too", async () => {
  for (const scheme of ["light", "dark"]) {
    const page = await s.page({ bypassCSP: true, colorScheme: scheme, ...(scheme === "dark" ? phone : {}) });
    await page.goto(`${s.gateway.base}/chat/shop.web`);
    await page.getByLabel("Your message").fill("hello");
    await page.getByRole("button", { name: "Send" }).click();
    await page.getByText("You said: hello").waitFor();
    await shot(page, `plain-${scheme}`);
    assert.deepEqual(await faults(page), [], scheme);
  }
});
