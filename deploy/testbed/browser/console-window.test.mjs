// A channel that takes replies for 24 hours only: the agent sees how long that is yet, and cannot write what would not leave.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import http from "node:http";
import { after, test } from "node:test";
import { phone } from "./lib/browser.mjs";
import { pane, people, row, signIn } from "./lib/desk.mjs";
import { lookTwice, stage, until } from "./lib/stage.mjs";

// The Graph API.
const said = [];
const graph = http.createServer(async (request, response) => {
  const chunks = [];
  for await (const c of request) chunks.push(c);
  const body = JSON.parse(Buffer.concat(chunks));
  if (body.type) said.push(body.text?.body ?? body.interactive.body.text);
  response.setHeader("Content-Type", "application/json").end(JSON.stringify({ messages: [{ id: `wamid.OUT${said.length}` }], success: true }));
}).listen(0, "127.0.0.1");
await once(graph, "listening");
after(() => graph.close());

process.env.TURNOUT_TEST_APP_SECRET = "the secret of the app";
process.env.TURNOUT_TEST_WORD = "a word of our own";
const s = stage({
  more: `${people()}---
kind: connection
name: meta
spec:
  adapter: whatsapp
  tenants: [shop]
  config: {app_secret: "env:TURNOUT_TEST_APP_SECRET", verify_token: "env:TURNOUT_TEST_WORD"}
---
kind: channel
name: whatsapp
spec:
  adapter: whatsapp
  config:
    connection: meta
    number: "1000001"
    token: env:TURNOUT_TEST_WORD
    graph: http://127.0.0.1:${graph.address().port}
`,
});

/** A customer's message, written so many minutes ago. */
async function writes(from, id, minutes, content) {
  const message = { from, id, timestamp: String(Math.floor(Date.now() / 1000 - minutes * 60)), ...content };
  const value = { messaging_product: "whatsapp", metadata: { display_phone_number: "15550100", phone_number_id: "1000001" }, messages: [message] };
  const body = JSON.stringify({ object: "whatsapp_business_account", entry: [{ id: "9", changes: [{ field: "messages", value }] }] });
  const signature = createHmac("sha256", process.env.TURNOUT_TEST_APP_SECRET).update(body).digest("hex");
  const res = await fetch(`http://127.0.0.1:${s.gateway.port}/v1/hooks/meta`, { method: "POST", body, headers: { "X-Hub-Signature-256": `sha256=${signature}` } });
  assert.equal(res.status, 200, await res.text());
}

const text = (body) => ({ type: "text", text: { body } });
const person = { type: "interactive", interactive: { type: "button_reply", button_reply: { id: "turnout:person", title: "Talk to a person" } } };

test("how long a reply is taken yet, and what is left when it is not", async () => {
  await writes("15550101", "wamid.a1", 23 * 60 + 20, person);
  await writes("15550101", "wamid.a2", 23 * 60 + 20, text("My teapot leaks"));
  await writes("15550102", "wamid.b1", 24 * 60 + 5, person);
  await writes("15550102", "wamid.b2", 24 * 60 + 5, text("Is anybody there?"));
  const page = await s.page({ viewport: { width: 1440, height: 900 }, bypassCSP: true });
  await page.goto(`${s.gateway.base}/console/`);
  await signIn(page, s.gateway.base);
  const open = async (page, last) => {
    await row(page, last).click();
    const take = page.getByRole("button", { name: /^(Accept|Take over)/ }).first();
    await take.click();
  };
  await open(page, "leaks");
  const first = page.locator("[data-pane]").first();
  await first.getByText(/^(39|40) min to reply$/).waitFor();
  const box = first.getByRole("textbox", { name: /^Reply to/ });
  await box.fill("We send you another one.");
  await box.press("Control+Enter");
  await until(() => said.includes("We send you another one."));
  await lookTwice(page, "console-window");

  await open(page, "anybody");
  await page.getByText("Reply time over").waitFor();
  await page.getByText(/has to write first: whatsapp takes no free text/).waitFor();
  await lookTwice(page, "console-window-over");
  // A note is possible, and the way back to the reply is not there.
  const over = page.locator("[data-pane]", { hasText: "Reply time over" });
  await over.getByRole("textbox", { name: "Internal note" }).fill("Asked the shop to call them.");
  assert.equal(await over.getByRole("button", { name: "Reply", exact: true }).isDisabled(), true);
  assert.equal(await over.getByRole("textbox", { name: /^Reply to/ }).count(), 0);

  // They write again: replies are possible again, without anything to be done.
  await writes("15550102", "wamid.b3", 0, text("Hello? Anybody?"));
  await over.waitFor({ state: "detached" });

  const small = await s.page({ ...phone, bypassCSP: true });
  await signIn(small, s.gateway.base);
  await row(small, "another one").click();
  await small.getByText(/min to reply/).waitFor();
  await lookTwice(small, "console-window-phone");
});
