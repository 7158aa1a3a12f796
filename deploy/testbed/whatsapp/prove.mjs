// Two clients that others wrote meet a Graph API and webhooks of our making. What to do comes as JSON on standard input, what came
// of it leaves as JSON on standard output.
import { readFileSync } from "node:fs";
import { WhatsAppClient } from "@kapso/whatsapp-cloud-api";
import { verifySignature, normalizeWebhook } from "@kapso/whatsapp-cloud-api/server";
import { WhatsAppAPI } from "whatsapp-api-js";
import { ActionButtons, ActionCTA, ActionList, Body, BodyComponent, BodyParameter, Button, Document, Image, Interactive, Language, ListSection, Row, Template, Text } from "whatsapp-api-js/messages";

const { graph, token, number, secret, verify, to, webhooks } = JSON.parse(readFileSync(0, "utf8"));
const out = { kapso: [], apijs: [], webhooks: [] };

// The one sends.
const one = new WhatsAppClient({ baseUrl: graph, accessToken: token, graphVersion: "v25.0" });
const common = { phoneNumberId: number, to };
const id = (r) => r.messages[0].id;
out.kapso.push(id(await one.messages.sendText({ ...common, body: "hi" })));
out.kapso.push(id(await one.messages.sendInteractiveButtons({ ...common, bodyText: "Which?", buttons: [{ id: "a", title: "A" }] })));
out.kapso.push(id(await one.messages.sendInteractiveCtaUrl({ ...common, bodyText: "Here", parameters: { displayText: "Open", url: "https://x.example/" } })));
out.kapso.push(id(await one.messages.sendText({ phoneNumberId: number, recipient: "US.77", body: "hi" })));
const upload = await one.media.upload({ phoneNumberId: number, type: "text/plain", file: new Blob(["one teapot"], { type: "text/plain" }), fileName: "bill.txt" });
out.upload = upload.id;
out.kapso.push(id(await one.messages.sendDocument({ ...common, document: { id: upload.id, filename: "bill.txt", caption: "the bill" } })));
out.read = (await one.messages.markRead({ phoneNumberId: number, messageId: "wamid.1", typingIndicator: { type: "text" } })).success;
try {
  await new WhatsAppClient({ baseUrl: graph, accessToken: "another", graphVersion: "v25.0" }).messages.sendText({ ...common, body: "x" });
  out.refused = false;
} catch {
  out.refused = true;
}

// The other sends, and receives.
const here = (url, init) => fetch(String(url).replace("https://graph.facebook.com", graph), init);
const other = new WhatsAppAPI({ token, appSecret: secret, webhookVerifyToken: verify, v: "v25.0", ponyfill: { fetch: here } });
const say = async (m) => out.apijs.push((await other.sendMessage(number, to, m)).messages[0].id);
await say(new Text("hi"));
await say(new Interactive(new ActionButtons(new Button("a", "A")), new Body("Which?")));
await say(new Interactive(new ActionList("Choose", new ListSection(undefined, new Row("a", "A", "d"))), new Body("Which?")));
await say(new Interactive(new ActionCTA("Open", "https://x.example/"), new Body("Here")));
await say(new Template("t1", new Language("en_US"), new BodyComponent(new BodyParameter("42"))));
await say(new Image("M9", true, "look"));
await say(new Document("https://x.example/a.pdf", false, undefined, "a.pdf"));

const heard = [];
other.on.message = ({ from, message }) => void heard.push(`${message.type} from ${from ?? ""}`);
other.on.status = ({ status, id }) => void heard.push(`${status} of ${id}`);
for (const { name, body, signature } of webhooks) {
  heard.length = 0;
  const taken = await other.post(JSON.parse(body), body, signature).then(() => true, (e) => String(e));
  await new Promise(setImmediate);
  const forged = await other.post(JSON.parse(body), body, signature.replace(/.$/, (c) => (c === "0" ? "1" : "0"))).then(() => true, () => false);
  out.webhooks.push({
    name, taken, forged, heard: [...heard],
    signed: verifySignature({ appSecret: secret, rawBody: body, signatureHeader: signature }),
    read: normalizeWebhook(JSON.parse(body)).messages.map((m) => `${m.type} ${m.id}`),
  });
}
process.stdout.write(JSON.stringify(out));
