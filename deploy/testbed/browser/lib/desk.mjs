// The console's side of a story: people with passwords, customers that are no browsers, and words for what an agent does.
import { execFileSync } from "node:child_process";
import { createHmac, randomUUID } from "node:crypto";
import { identitySecret, program } from "./gateway.mjs";
import { patience } from "./stage.mjs";

export const password = "correct horse battery staple";

/**
 * Resources of people who sign in to the console: Robin and Sam in both queues, Kim in one, Olga who supervises; and a
 * channel, brief, on which a conversation that was closed is never the same again.
 */
export function people() {
  const hash = execFileSync(program, ["admin", "password"], { input: password, encoding: "utf8" }).match(/\$argon2id\S+/)[0];
  const person = (id, name, spec) => `---
kind: agent
name: ${id}
spec: {name: ${name}, login: ${id}@shop.example, password: "env:TURNOUT_TEST_PASSWORD", ${spec}}
`;
  process.env.TURNOUT_TEST_PASSWORD = hash;
  return `---
kind: channel
name: brief
spec:
  adapter: web
  reopen_within: 1ms
  config: {title: Short talks, origins: ["http://127.0.0.1"], identity: {secret: "env:TURNOUT_TEST_IDENTITY"}, allow_no_origin: true}
---
kind: queue
name: fraud
spec: {title: Fraud desk, priority: urgent}
---
kind: rules
name: desk
spec:
  rules:
    - id: fraud-claim
      why: Somebody who disputes a payment speaks to a person at once.
      on: inbound
      when: phrase("did not make this charge", "no reconozco este cargo")
      then: {handoff: {queue: fraud, priority: urgent}, must_reach_human: true, tags: [fraud], say: {en: "A person is coming. Your card is safe meanwhile."}}
    - id: frustrated
      why: Whoever is at the end of their patience gets a person.
      on: inbound
      when: signal.frustration > 0.5
      then: {handoff: {queue: support, priority: high}, tags: [unhappy]}
` + person("robin", "Robin Sample", "queues: [support, fraud], capacity: 8") +
    person("sam", "Sam Example", "queues: [support, fraud], capacity: 3") +
    person("kim", "Kim Placeholder", "queues: [fraud], capacity: 3") +
    person("olga", "Olga Specimen", 'role: supervisor, queues: ["*"], capacity: 5');
}

/** A customer of the web chat without a browser. Given a name, the shop vouches for them. */
export class Customer {
  constructor(gateway, profile, channel = "web") {
    this.base = `http://127.0.0.1:${gateway.port}/v1/web/shop.${channel}`;
    this.profile = profile;
  }

  async call(path, body, file) {
    const res = await fetch(`${this.base}/${path}`, {
      method: "POST",
      headers: {
        ...(file ? { "Content-Type": "application/octet-stream", "X-Filename": encodeURIComponent(file) } : { "Content-Type": "application/json" }),
        ...(this.token ? { Authorization: `Bearer ${this.token}` } : {}),
      },
      body: file ? body : JSON.stringify(body),
    });
    const text = await res.text();
    if (!res.ok) throw new Error(`${path}: ${res.status} ${text}`);
    return text ? JSON.parse(text) : null;
  }

  async come() {
    const b64 = (v) => Buffer.from(JSON.stringify(v)).toString("base64url");
    const p = this.profile;
    const body = {};
    if (p) {
      const head = `${b64({ alg: "HS256", typ: "JWT" })}.${b64({ sub: p.name, exp: Math.floor(Date.now() / 1000) + 3600, ...p })}`;
      body.identity = `${head}.${createHmac("sha256", identitySecret).update(head).digest("base64url")}`;
    }
    const s = await this.call("session", body);
    this.token = s.token;
    return this;
  }

  async say(text) {
    if (!this.token) await this.come();
    const a = await this.call("messages", { id: randomUUID(), text });
    this.conversation = a.conversation ?? this.conversation;
    return a;
  }

  async send(name, bytes, text = "") {
    const { id } = await this.call("attachments", bytes, name);
    return this.call("messages", { id: randomUUID(), text, attachments: [id] });
  }

  typing(on) {
    return this.call("observe", { typing: on });
  }

  human() {
    return this.call("human", {});
  }

  /** Everything that this customer's wire carries until something is on it, as text. */
  async wire(last) {
    const over = new AbortController();
    const patient = setTimeout(() => over.abort(new Error(`not on the wire: ${last}`)), patience);
    let text = "";
    try {
      const res = await fetch(`${this.base}/events`, { headers: { Authorization: `Bearer ${this.token}`, Accept: "text/event-stream" }, signal: over.signal });
      for await (const c of res.body) {
        text += Buffer.from(c).toString("utf8");
        if (text.includes(last)) return text;
      }
      throw new Error(`the stream ended without ${last}`);
    } finally {
      clearTimeout(patient);
      over.abort();
    }
  }
}

export async function signIn(page, base, login = "robin@shop.example") {
  await page.goto(`${base}/console/`);
  await page.getByLabel("Login").fill(login);
  await page.getByLabel("Password", { exact: true }).fill(password);
  await page.getByRole("button", { name: "Continue" }).click();
  await page.getByRole("complementary", { name: "Inbox" }).waitFor();
}

export const row = (page, name) => page.locator("[data-row]", { hasText: name });
export const pane = (page, name) => page.locator(".pane").filter({ has: page.getByRole("heading", { name }) });
export const thread = (page, name) => pane(page, name).getByRole("log");
export const box = (page, name) => pane(page, name).getByRole("textbox");

const tokens = new Map(); // sign-ins are rare things: the server allows no more than a few a minute

/** Speaks to the API as one of the people. */
export async function agentApi(gateway, login) {
  const base = `http://127.0.0.1:${gateway.port}/v1/agent/`;
  const call = async (path, body, token) => {
    const res = await fetch(base + path, {
      method: body ? "POST" : "GET",
      headers: { "Content-Type": "application/json", ...(token ? { Authorization: `Bearer ${token}` } : {}) },
      body: body && JSON.stringify(body),
    });
    const text = await res.text();
    if (!res.ok) throw Object.assign(new Error(`${path}: ${res.status} ${text}`), { status: res.status });
    return text ? JSON.parse(text) : null;
  };
  const who = gateway.dir + login;
  if (!tokens.has(who)) tokens.set(who, (await call("login", { login: `${login}@shop.example`, password })).token);
  return (path, body) => call(path, body, tokens.get(who));
}

/** Resolves whatever anybody has or waits, so that the next story begins with an empty house. */
export async function clear(gateway) {
  gateway.bot.say = (text) => `You said: ${text}`;
  gateway.wire.mend();
  if (gateway.process.exitCode !== null || gateway.process.signalCode !== null) await gateway.run();
  const olga = await agentApi(gateway, "olga");
  for (const login of ["robin", "sam", "kim"]) {
    const one = await agentApi(gateway, login);
    for (const { conversation } of (await one("queue?view=mine")).items) await one(`conversations/${conversation}/resolve`, {});
  }
  for (const view of ["queue", "mine"])
    for (const { conversation } of (await olga(`queue?view=${view}`)).items) await olga(`conversations/${conversation}/resolve`, { override: true });
}
