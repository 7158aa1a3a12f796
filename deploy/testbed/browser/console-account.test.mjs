// What an agent sees of the shop's own system: the state of the account, how old that is, past tickets; and asking again.
import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import { after, test } from "node:test";
import { phone } from "./lib/browser.mjs";
import { Customer, pane, people, row, signIn, thread } from "./lib/desk.mjs";
import { lookTwice, stage } from "./lib/stage.mjs";

// The shop's own system.
let answer = { tier: "gold", open_orders: 2, blocked: false };
const crm = http.createServer((request, response) => {
  if (!answer) return response.writeHead(503).end();
  response.setHeader("Content-Type", "application/json").end(JSON.stringify({
    name: "Erika M. Mustermann", ...answer,
    cases: [
      { id: "4711", subject: "Wrong size, sent back <b>twice</b>", status: "solved", at: "2026-01-05T10:00:00Z", url: "https://crm.example/4711" },
      { id: "4690", subject: "", status: "open", url: "javascript:alert(1)" },
    ],
  }));
}).listen(0, "127.0.0.1");
await once(crm, "listening");
after(() => crm.close());

const s = stage({
  more: `${people()}---
kind: profile
name: crm
spec:
  config:
    url: http://127.0.0.1:${crm.address().port}/{subject}
    response:
      name: body.name
      fields: {tier: body.tier, open_orders: body.open_orders, blocked: body.blocked}
      tickets: body.cases
---
kind: bot
name: billing-and-invoices
spec: {adapter: webhook, alternate: old, config: {url: "http://127.0.0.1:9/"}}
---
kind: rules
name: ways
spec:
  rules:
    - id: invoices-go-to-billing
      why: The billing bot knows invoices.
      on: inbound
      when: phrase("invoice")
      then: {bot: billing-and-invoices}
`,
});

test("account state and past tickets stand beside the conversation", async () => {
  const erika = await new Customer(s.gateway, { name: "Erika Mustermann", email: "erika@example.com", level: "app", fields: { plan: "Premier" } }).come();
  await erika.say("Where is my order?");
  await erika.say("And the invoice for it?"); // a rule gives it to a bot that is not there, and its alternate answers
  await erika.human();
  const stranger = await new Customer(s.gateway).come();
  await stranger.say("hello");
  await stranger.human();
  const page = await s.page({ viewport: { width: 1440, height: 900 }, bypassCSP: true });
  await page.goto(`${s.gateway.base}/console/`);
  await signIn(page, s.gateway.base);
  await row(page, "Erika").click();
  const account = page.getByRole("region", { name: "Account state, from your own system" });
  await account.getByText("gold").waitFor();
  assert.match(await account.innerText(), /just now|old/);
  assert.match(await account.innerText(), /Erika M\. Mustermann\s*Blocked\s*no\s*Open orders\s*2\s*Tier\s*gold/);
  const ticket = page.getByRole("link", { name: /Wrong size, sent back <b>twice<\/b>/ });
  assert.equal(await ticket.getAttribute("href"), "https://crm.example/4711");
  assert.equal(await ticket.getAttribute("rel"), "noopener noreferrer");
  assert.equal(await page.locator('a[href^="javascript"]').count(), 0);
  await page.getByText("4690").waitFor();
  await thread(page, "Erika").getByText("Rule invoices-go-to-billing gave it to the bot billing-and-invoices").waitFor();
  await lookTwice(page, "console-account");

  const small = await s.page({ ...phone, bypassCSP: true });
  await signIn(small, s.gateway.base);
  await row(small, "Erika").click();
  await thread(small, "Erika").getByText("Rule invoices-go-to-billing gave it to the bot billing-and-invoices").scrollIntoViewIfNeeded();
  await lookTwice(small, "console-phone-route");
  await small.getByRole("button", { name: "About Erika Mustermann" }).click();
  const sheet = small.getByRole("dialog").getByRole("region", { name: "Account state, from your own system" });
  await sheet.getByText("gold").waitFor();
  await lookTwice(small, "console-phone-account");
  const pressed = await small.getByRole("dialog").locator("button, a").evaluateAll((all) => all.map((e) => e.getBoundingClientRect()).filter((r) => r.width && Math.min(r.width, r.height) < 43.5).length);
  assert.equal(pressed, 0, "everything to press is at least 44 px");
  await small.context().close();

  answer = { tier: "silver", open_orders: 3, blocked: true };
  await account.getByRole("button", { name: "Ask again" }).click();
  await account.getByText("silver").waitFor();
  await pane(page, "Erika").getByText(/asked your own system who this is/).waitFor();

  answer = undefined;
  await account.getByRole("button", { name: "Ask again" }).click();
  await page.getByText(/Your own system did not say who this customer is/).first().waitFor();
  await account.getByText("silver").waitFor(); // what is known still stands
});
