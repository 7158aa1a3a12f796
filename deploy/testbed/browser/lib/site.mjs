// The sites that embed the chat: a shop with a strict policy, and a single-page app. They are another origin than the
// gateway, as a customer's site is.
import { once } from "node:events";
import http from "node:http";
import { readFileSync } from "node:fs";

const types = { html: "text/html; charset=utf-8", css: "text/css", js: "text/javascript" };
const folder = new URL("../site/", import.meta.url);

export class Site {
  /** Where the gateway is; set before the first page is asked for. */
  gateway = "";
  /** Replaces the policy of pages; null for none. */
  policy = undefined;
  /** Attributes added to the tag. */
  tag = "";
  lang = "en";
  /** What is in the head of bare.html. */
  head = "";
  theme = "";

  static async start() {
    const s = new Site();
    s.server = http.createServer((req, res) => s.serve(req, res));
    s.server.listen(0, "127.0.0.1");
    await once(s.server, "listening");
    s.origin = `http://127.0.0.1:${s.server.address().port}`;
    return s;
  }

  stop() {
    this.server.close();
    this.server.closeAllConnections();
  }

  /** The strictest policy under which the chat works: nothing but its script and its connections. */
  strict() {
    const ws = this.gateway.replace(/^http/, "ws");
    return `default-src 'none'; script-src ${this.gateway} 'self'; style-src 'self'; connect-src ${this.gateway} ${ws}; ` +
      "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";
  }

  serve(req, res) {
    const path = new URL(req.url, this.origin).pathname;
    const name = path === "/" ? "shop.html" : path.slice(1);
    let body;
    try {
      body = readFileSync(new URL(name, folder), "utf8");
    } catch {
      return res.writeHead(404).end();
    }
    body = body
      .replaceAll("GATEWAY", this.gateway)
      .replaceAll("HEAD", this.head)
      .replaceAll("TAG", this.tag)
      .replaceAll("LANG", this.lang)
      .replaceAll("THEME", this.theme && `data-theme="${this.theme}"`);
    const policy = this.policy === undefined ? this.strict() : this.policy;
    res.writeHead(200, {
      "Content-Type": types[name.split(".").pop()],
      "Cache-Control": "no-store",
      ...(policy && name.endsWith(".html") ? { "Content-Security-Policy": policy } : {}),
    });
    res.end(body);
  }
}
