// A bot that was already there: a RiveScript brain for a small shop, and ELIZA, behind plain HTTP.
//
//   POST /                        {"user","text"}      -> {"reply"}
//   POST /eliza                   {"user","text"}      -> {"reply"}
//   POST /webhooks/rest/webhook   {"sender","message"} -> [{"recipient_id","text"}]
//   GET  /                        -> {"ok":true}
//
// It listens on 127.0.0.1 and the port of the variable PORT (5005; 0 picks a free one), prints one line with its address
// when it is ready, and ends on SIGTERM or SIGINT.
import http from "node:http";
import { fileURLToPath } from "node:url";
import { createRequire } from "node:module";
import RiveScript from "rivescript";

const ElizaBot = createRequire(import.meta.url)("elizabot");

const maxBody = 256 * 1024;
const maxUsers = 10_000;

const brain = new RiveScript({ utf8: true });
brain.unicodePunctuation = /[.,!?;:]/g;
await brain.loadFile(fileURLToPath(new URL("brain/shop.rive", import.meta.url)));
brain.sortReplies();

// Both bots remember each user; the oldest are forgotten first.
const therapists = new Map();
const known = new Set();

function remember(users, user, forget) {
  users.delete(user);
  if (users.size >= maxUsers) {
    const oldest = users.keys().next().value;
    users.delete(oldest);
    forget(oldest);
  }
}

async function shop(user, text) {
  remember(known, user, (u) => brain.clearUservars(u));
  known.add(user);
  return brain.reply(user, text);
}

function eliza(user, text) {
  const bot = therapists.get(user) ?? new ElizaBot();
  remember(therapists, user, () => {});
  therapists.set(user, bot);
  return bot.transform(text);
}

const routes = {
  "/": async (b) => ({ reply: await shop(word(b, "user"), word(b, "text")) }),
  "/eliza": async (b) => ({ reply: eliza(word(b, "user"), word(b, "text")) }),
  "/webhooks/rest/webhook": async (b) => {
    const user = word(b, "sender");
    return [{ recipient_id: user, text: await shop(user, word(b, "message")) }];
  },
};

class BadRequest extends Error {}

function word(body, field) {
  if (typeof body?.[field] !== "string" || body[field] === "") {
    throw new BadRequest(`${field} must be a text`);
  }
  return body[field];
}

async function read(req) {
  const chunks = [];
  let size = 0;
  for await (const chunk of req) {
    size += chunk.length;
    if (size > maxBody) throw new BadRequest("the body is too large");
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString("utf8"));
  } catch {
    throw new BadRequest("the body must be JSON");
  }
}

function answer(res, status, body) {
  const bytes = Buffer.from(JSON.stringify(body));
  res.writeHead(status, { "Content-Type": "application/json", "Content-Length": bytes.length });
  res.end(bytes);
}

const server = http.createServer(async (req, res) => {
  const path = req.url.split("?", 1)[0];
  try {
    if (!Object.hasOwn(routes, path)) return answer(res, 404, { error: "not found" });
    if (req.method === "GET" && path === "/") return answer(res, 200, { ok: true });
    if (req.method !== "POST") return answer(res, 405, { error: "use POST" });
    answer(res, 200, await routes[path](await read(req)));
  } catch (err) {
    const bad = err instanceof BadRequest;
    if (!bad) console.error(err);
    if (!res.headersSent) answer(res, bad ? 400 : 500, { error: bad ? err.message : "internal error" });
    if (bad) req.destroy();
  }
});

server.keepAliveTimeout = 60_000;
server.listen(Number(process.env.PORT ?? 5005), "127.0.0.1", () => {
  console.log(`legacybot is ready at http://127.0.0.1:${server.address().port}`);
});

for (const signal of ["SIGTERM", "SIGINT"]) {
  process.once(signal, () => {
    server.close(() => process.exit(0));
    server.closeAllConnections();
  });
}
