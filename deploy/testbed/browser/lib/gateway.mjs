// A real gateway for a test: the program, a bot whose answers the test decides, an agent, and a wire that can be cut.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export const program = process.env.TURNOUT_BIN ?? fileURLToPath(new URL("../../../../bin/turnout", import.meta.url));

/** Listens on a free loopback port. */
async function listen(server, port = 0) {
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  return server.address().port;
}

/**
 * A loopback port that nobody listens on. The program gets it after it was tried, and again after each of its deaths, so it
 * is none of those that the system gives to whoever asks for any (32768 and up on Linux, 49152 elsewhere).
 */
export async function freePort() {
  for (;;) {
    const server = net.createServer();
    try {
      const port = await listen(server, 15_000 + Math.floor(Math.random() * 15_000));
      await new Promise((done) => server.close(done));
      return port;
    } catch (e) {
      if (e.code !== "EADDRINUSE") throw e;
    }
  }
}

/**
 * A bot. It answers what say returns: a string, a list of strings, {text, choices}, or nothing; say may take its time.
 */
export class Bot {
  say = (text) => `You said: ${text}`;
  /** Every call: {id, attempt, text}. */
  calls = [];

  async start() {
    this.server = http.createServer(async (req, res) => {
      const chunks = [];
      for await (const c of req) chunks.push(c);
      const turn = JSON.parse(Buffer.concat(chunks).toString("utf8"));
      const text = turn.message.text ?? "";
      this.calls.push({ id: turn.turn_id, attempt: turn.attempt, text });
      const said = await this.say(text, turn);
      if (said === undefined) return res.writeHead(204).end();
      const messages = [said].flat().map((m) => (typeof m === "string" ? { text: m } : m));
      res.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify({ messages }));
    });
    this.port = await listen(this.server);
    return this;
  }

  stop() {
    this.server.close();
    this.server.closeAllConnections();
  }
}

/** A wire in front of a port: what browsers speak to. cut breaks every connection and takes no new one. */
class Wire {
  ends = new Set();
  whole = true;

  async start(to) {
    this.server = net.createServer((a) => {
      if (!this.whole) return a.destroy();
      const b = net.connect(to, "127.0.0.1");
      for (const [x, y] of [[a, b], [b, a]]) {
        this.ends.add(x);
        x.on("data", (d) => y.write(d)).on("end", () => y.end()).on("error", () => y.destroy());
        x.on("close", () => (this.ends.delete(x), y.destroy()));
      }
    });
    this.port = await listen(this.server);
  }

  cut() {
    this.whole = false;
    for (const end of this.ends) end.destroy();
  }

  mend() {
    this.whole = true;
  }

  stop() {
    this.cut();
    this.server.close();
  }
}

export class Gateway {
  log = "";

  /**
   * @param {{origins: string[], channel?: string, more?: string}} o channel: further lines of the channel's section,
   * indented by four; more: further resources
   */
  static async start(o) {
    const g = new Gateway();
    g.dir = mkdtempSync(join(tmpdir(), "turnout-browser-"));
    g.bot = await new Bot().start();
    g.port = await freePort();
    g.ops = await freePort();
    g.wire = new Wire();
    await g.wire.start(g.port);
    g.base = `http://127.0.0.1:${g.wire.port}`;
    execFileSync(program, ["admin", "init", join(g.dir, "data")], { stdio: "ignore" });
    const made = execFileSync(program, ["admin", "key", "lou-1"], { encoding: "utf8" });
    g.key = /^key:\s*(\S+)/m.exec(made)[1];
    const digest = /^sha256:\s*(\S+)/m.exec(made)[1];
    writeFileSync(
      join(g.dir, "turnout.yaml"),
      `listen: 127.0.0.1:${g.port}
ops_listen: 127.0.0.1:${g.ops}
data: data
root_key: file:data/keys/root.key
audit: {signing_key: file:data/keys/audit.key}
limits: {allow_networks: [127.0.0.1/32]}
resources: [shop.yaml]
`,
      { mode: 0o600 },
    );
    writeFileSync(
      join(g.dir, "shop.yaml"),
      `kind: tenant
name: shop
spec: {default_queue: support, bot: old}
---
kind: channel
name: web
spec:
  adapter: web
  config:
    title: Kettle & Loom
    origins: ${JSON.stringify([g.base, ...o.origins])}
    identity: {secret: "env:TURNOUT_TEST_IDENTITY"}
    attachments: {max_bytes: 300000}
    limits: {text_bytes: 2000, visitor_streams: 16}
${o.channel ?? ""}
---
kind: bot
name: old
spec:
  adapter: webhook
  deadline: 60s
  config: {url: "http://127.0.0.1:${g.bot.port}/"}
---
kind: queue
name: support
spec: {title: Care team}
---
kind: agent
name: lou
spec: {name: Lou Specimen, queues: [support], capacity: 100, keys: [{id: lou-1, sha256: "${digest}"}]}
---
kind: rules
name: house
spec:
  rules:
    - id: thief
      why: Fraud is for people.
      on: inbound
      when: phrase("stolen card")
      then: {handoff: {queue: support}}
${o.more ?? ""}`,
    );
    await g.run();
    return g;
  }

  /** Starts the program, on the same ports and data as before. */
  async run() {
    this.process = spawn(program, ["serve", "--config", join(this.dir, "turnout.yaml")], {
      env: { ...process.env, TURNOUT_TEST_IDENTITY: identitySecret },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.process.stderr.on("data", (d) => (this.log += d));
    const lines = createInterface({ input: this.process.stdout });
    const ended = once(this.process, "exit").then(() => {
      throw new Error(`the gateway did not start:\n${this.log}`);
    });
    await Promise.race([once(lines, "line"), ended]);
    ended.catch(() => {});
  }

  /** Ends the program as a power button would, or with another signal. */
  async kill(signal = "SIGKILL") {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const gone = once(this.process, "exit");
    this.process.kill(signal);
    await gone;
  }

  async stop() {
    await this.kill();
    this.wire.stop();
    this.bot.stop();
    rmSync(this.dir, { recursive: true, force: true });
  }

  /** Ends what a test left behind: runs again, has an empty queue, and a bot with nothing special to say. */
  async tidy() {
    this.bot.say = (text) => `You said: ${text}`;
    this.wire.mend();
    if (this.process.exitCode !== null || this.process.signalCode !== null) await this.run();
    await this.agent("presence", {});
    for (const view of ["queue", "mine"])
      for (const { conversation } of (await this.agent(`queue?view=${view}`)).items) {
        if (view === "queue") await this.agent(`conversations/${conversation}/claim`, {});
        await this.agent(`conversations/${conversation}/resolve`, {});
      }
  }

  /** A request of the agent. Without a body it is a GET. */
  async agent(path, body) {
    const answer = await fetch(`http://127.0.0.1:${this.port}/v1/agent/${path}`, {
      method: body ? "POST" : "GET",
      headers: { Authorization: `Bearer ${this.key}`, "Content-Type": "application/json" },
      body: body && JSON.stringify(body),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${text}`);
    return text ? JSON.parse(text) : null;
  }

  /** A request of the operator, over the node's own socket. Without a body it is a GET. */
  operator(path, body) {
    return new Promise((done, failed) => {
      const request = http.request({
        socketPath: join(this.dir, "data", "turnout.sock"), path: `/v1/admin/${path}`, method: body ? "POST" : "GET", agent: false,
        headers: { "Content-Type": "application/json" },
      }, async (answer) => {
        const chunks = [];
        for await (const c of answer) chunks.push(c);
        const text = Buffer.concat(chunks).toString("utf8");
        if (answer.statusCode >= 300) return failed(new Error(`${path}: ${answer.statusCode} ${text}`));
        done(text ? JSON.parse(text) : null);
      });
      request.on("error", failed);
      request.end(body && JSON.stringify(body));
    });
  }

  /** The conversations that wait, oldest first. */
  async queue() {
    return (await this.agent("queue")).items.map((c) => c.conversation);
  }
}

export const identitySecret = "0123456789abcdef0123456789abcdef";
