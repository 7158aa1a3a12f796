// How the console looks, in sizes, themes and states: a checker finds nothing, nothing sticks out, nothing is refused by the
// policy. With TURNOUT_SHOTS there are pictures to look at.
import assert from "node:assert/strict";
import { test } from "node:test";
import { phone } from "./lib/browser.mjs";
import { box, Customer, pane, people, row, signIn, thread } from "./lib/desk.mjs";
import { look, lookTwice, shot, stage } from "./lib/stage.mjs";

const s = stage({ more: people() });
const waiting = [
  ["Mario Rossi", "Bonifico mai arrivato"], ["Joe Bloggs", "speak to someone about my loan"], ["فلان الفلاني", "أريد إيقاف البطاقة"],
  ["Ola Nordmann", "Standing order to my landlord, and a very long sentence that surely does not fit into a row of this list"],
];

// A house with work in it: three conversations of Robin's, in each state that a pane can have, and a queue.
let house;
const furnish = () => (house ??= (async () => {
  s.gateway.bot.say = (t) => (t.includes("balance") ? "Your balance is 412.07 EUR. The last movement was a card payment of 389.00 EUR at TRAVELMART 44." : "Could you say that in other words?");
  const erika = await new Customer(s.gateway, { name: "Erika Mustermann", email: "erika@example.com", phone: "+49 555 0100", level: "app", fields: { plan: "Premier", balance: 412.07, card_4471: "active" } }).come();
  await erika.say("Hi, my balance looks wrong");
  await erika.say("I did not make this charge!! I have the card here with me");
  s.juan = await new Customer(s.gateway, { name: "Juan Pérez" }).come();
  await s.juan.say("Me cobraron dos veces la anualidad de la tarjeta");
  await s.juan.say("quiero hablar con una persona");
  const kari = await new Customer(s.gateway, { name: "Kari Nordmann" }).come();
  await kari.say("Any news on the flat valuation? The seller is asking.");
  await kari.human();
  for (const [name, text] of waiting) {
    const c = await new Customer(s.gateway, { name }).come();
    await c.say(text);
    await c.human();
  }
  s.erika = erika;
})());


let first = true;
for (const colorScheme of ["light", "dark"]) {
  test(`desktop, ${colorScheme}`, async () => {
    await furnish();
    const page = await s.page({ viewport: { width: 1440, height: 900 }, colorScheme, bypassCSP: true });
    await page.goto(`${s.gateway.base}/console/`);
    await page.getByLabel("Login").waitFor();
    await look(page, `console-signin-${colorScheme}`);
    await signIn(page, s.gateway.base);
    await row(page, "Erika").waitFor();
    if (first) {
      await look(page, `console-empty-${colorScheme}`);
      for (const name of ["Kari", "Juan", "Erika"]) {
        await row(page, name).click();
        await pane(page, name).getByRole("button", { name: /^Accept/ }).click();
        await box(page, name).waitFor();
      }
      await box(page, "Juan").fill("Lo veo, Juan: hay dos cargos de 45,00 €. Anulo el segundo ahora mismo.");
      await box(page, "Juan").press("Control+Enter");
      await thread(page, "Juan").getByText("Sent", { exact: true }).waitFor();
      await s.juan.say("Perfecto. ¿Cuándo lo veré en la cuenta?");
      await s.erika.say("Is my money gone? I have rent due on Friday");
      await pane(page, "Juan").getByRole("button", { name: "Note" }).click();
      await box(page, "Juan").fill("Duplicate fee reversed, ref 5510-S.");
      await box(page, "Juan").press("Control+Enter");
      await pane(page, "Juan").getByRole("button", { name: "Reply" }).click();
      first = false;
    }
    for (const name of ["Kari", "Juan", "Erika"]) await thread(page, name).getByText(/(took it|accepted)/).waitFor();
    await pane(page, "Kari").getByRole("button", { name: "Note" }).click();
    await box(page, "Kari").fill("Credit: valuation 4 % low, can we hold 3.19 until Friday");
    await box(page, "Juan").fill("En 24 horas como máximo. Te llegará un aviso.");
    await box(page, "Juan").press("Control+Enter");
    await box(page, "Erika").fill("Erika, your money is safe. I’ve blocked the card ending 4471 and opened a dispute for the 389.00 EUR.");
    await page.getByText("All drafts saved").waitFor();
    await look(page, `console-three-${colorScheme}`);

    // Five panes, from 1800; two below 1280, where what is known of the customer comes on demand.
    await page.setViewportSize({ width: 1920, height: 1080 });
    for (const name of ["Mario", "فلان"]) await row(page, name).click();
    await row(page, "Erika").click();
    await page.locator(".pane").nth(4).waitFor();
    await thread(page, "Mario").getByText(/Handed off/).waitFor();
    await look(page, `console-five-${colorScheme}`);
    await page.setViewportSize({ width: 1200, height: 800 });
    await page.locator(".pane").nth(2).waitFor({ state: "detached" });
    await page.locator(".pane").nth(1).waitFor();
    await look(page, `console-two-${colorScheme}`);
    for (const width of [1920, 1440, 1280, 1200, 1000]) {
      await page.setViewportSize({ width, height: 800 });
      await page.waitForFunction((want) => innerWidth === want, width);
      await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
      const widths = await page.locator(".pane").evaluateAll((all) => all.map((e) => e.getBoundingClientRect().width));
      assert.ok(widths.length > 0 && widths.every((w) => w >= 279.5), `at ${width}: ${widths}`);
    }
    await page.setViewportSize({ width: 1440, height: 900 });
    await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
    await page.getByRole("button", { name: "To the end" }).waitFor({ state: "detached" }); // what nobody scrolled is still at its end
    for (const [name, open] of [
      ["keys", () => page.getByRole("button", { name: "Keys and settings" }).click()],
      ["commands", () => page.getByRole("button", { name: "Commands", exact: true }).click()],
      ["transfer", async () => {
        await pane(page, "Kari").getByRole("button", { name: "Transfer, put aside" }).click();
        await page.getByRole("menuitem", { name: /^Transfer/ }).click();
        await page.getByRole("radio").first().waitFor();
      }],
      ["resolve", async () => {
        await pane(page, "Kari").getByRole("button", { name: "Transfer, put aside" }).click();
        await page.getByRole("menuitem", { name: /^Resolve/ }).click();
      }],
    ]) {
      await open();
      await page.getByRole("dialog").waitFor();
      await look(page, `console-${name}-${colorScheme}`);
      await page.keyboard.press("Escape");
      await page.getByRole("dialog").waitFor({ state: "detached" });
    }
    await pane(page, "Kari").getByRole("button", { name: "Reply", exact: true }).click();
    await page.getByRole("alertdialog").waitFor();
    await look(page, `console-guard-${colorScheme}`);
    await page.context().close();
  });

  test(`phone, ${colorScheme}`, async () => {
    await furnish();
    const page = await s.page({ ...phone, colorScheme, bypassCSP: true });
    await page.goto(`${s.gateway.base}/console/`);
    await page.getByLabel("Login").waitFor();
    await look(page, `console-phone-signin-${colorScheme}`);
    await signIn(page, s.gateway.base);
    await row(page, "Erika").waitFor();
    await look(page, `console-phone-inbox-${colorScheme}`);
    await row(page, "Erika").click();
    await thread(page, "Erika").getByText("rent due on Friday").waitFor();
    await look(page, `console-phone-thread-${colorScheme}`);
    const targets = await page.locator(".pane button, .pane textarea").evaluateAll((all) => all.map((e) => e.getBoundingClientRect()).filter((r) => r.width && Math.min(r.width, r.height) < 43.5).length);
    assert.equal(targets, 0, "everything to press is at least 44 px");
    await page.getByRole("button", { name: "Write an internal note" }).click();
    await box(page, "Erika").fill("Card is blocked. Dispute form next.");
    await look(page, `console-phone-note-${colorScheme}`);
    await box(page, "Erika").fill("");
    await page.getByRole("button", { name: "Back to reply" }).click();
    await page.getByRole("button", { name: "About Erika Mustermann" }).click();
    await page.getByRole("dialog").getByText("fraud-claim").first().waitFor();
    await look(page, `console-phone-about-${colorScheme}`);
    await page.getByRole("dialog").getByRole("button", { name: /^Close/ }).click();
    await page.getByRole("button", { name: "Transfer, put aside" }).click();
    await page.getByRole("menu").waitFor();
    await look(page, `console-phone-more-${colorScheme}`);
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "Back to the inbox" }).click();
    await row(page, "Mario").click();
    await page.getByRole("button", { name: /^Accept/ }).waitFor();
    await look(page, `console-phone-waiting-${colorScheme}`);
    await page.context().close();
  });
}

test("at twice the size and on 320 px nothing sticks out", async () => {
  for (const [name, options] of [
    ["zoom", { viewport: { width: 720, height: 450 }, deviceScaleFactor: 2 }],
    ["320", { viewport: { width: 320, height: 640 } }],
  ]) {
    const page = await s.page({ ...options, bypassCSP: true });
    await signIn(page, s.gateway.base);
    await row(page, "Erika").click();
    await box(page, "Erika").waitFor();
    await look(page, `console-${name}`);
    await page.context().close();
  }
});

test("what was erased is gone from the screen, and says so", async () => {
  const jo = await new Customer(s.gateway, { name: "Jo Bloggs", email: "jo@example.com" }).come();
  await jo.say("my number is 555 0199");
  await jo.human();
  const wide = await s.page({ viewport: { width: 1440, height: 900 }, bypassCSP: true });
  const small = await s.page({ ...phone, bypassCSP: true });
  for (const page of [wide, small]) {
    await signIn(page, s.gateway.base);
    await row(page, "Jo Bloggs").click();
    await thread(page, "Jo Bloggs").getByText("my number is").first().waitFor();
  }
  await wide.getByRole("button", { name: /^Accept/ }).last().click();
  await box(wide, "Jo Bloggs").fill("Dear Jo");
  await s.gateway.operator("erasures", { conversation: jo.conversation });
  for (const [page, name] of [[wide, "console-erased"], [small, "console-phone-erased"]]) {
    await page.getByText("This conversation was erased", { exact: true }).waitFor();
    await page.getByText("Jo Bloggs").first().waitFor({ state: "detached" });
    for (const text of ["my number is", "jo@example.com", "Dear Jo"]) await page.getByText(text).first().waitFor({ state: "detached" });
    await lookTwice(page, name);
  }
  await wide.reload();
  await wide.getByText("This conversation was erased", { exact: true }).waitFor();
  await wide.locator(".thread").getByRole("button", { name: "Close", exact: true }).click();
  await wide.getByText("This conversation was erased", { exact: true }).waitFor({ state: "detached" });
  await small.locator(".thread").getByRole("button", { name: "Close", exact: true }).click();
  await small.getByRole("complementary", { name: "Inbox" }).waitFor();
  for (const page of [wide, small]) await page.context().close();
});

test("without motion and in forced colours all of it is there", async () => {
  const page = await s.page({ viewport: { width: 1440, height: 900 }, reducedMotion: "reduce", forcedColors: "active" });
  await signIn(page, s.gateway.base);
  await thread(page, "Erika").getByText("Handed off by rule fraud-claim").waitFor();
  await shot(page, "console-forced");
  const moving = await page.evaluate(() => document.getAnimations().filter((a) => Number(a.effect?.getTiming().iterations) > 1 || Number(a.effect?.getTiming().duration) > 10).length);
  assert.equal(moving, 0);
  assert.deepEqual(page.complaints, []);
  await page.context().close();
});
