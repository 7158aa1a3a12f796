import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { gzipSync } from "node:zlib";

// Run from the app's folder, as npm does.
const dist = "dist/";
const packed = (name: string) => gzipSync(readFileSync(dist + name), { level: 9 }).length;
const kilo = 1024;

test("what every page loads, and what a chat loads, stays small", () => {
  const names = readdirSync(dist).filter((n) => n.endsWith(".js"));
  const first = names.filter((n) => n === "widget.js" || n.startsWith("chat-"));
  assert.equal(first.length, 2, `${names}`);
  const together = first.reduce((sum, n) => sum + packed(n), 0);
  assert.ok(together <= 25 * kilo, `loader and chat have ${together} bytes packed; 25 KB is the limit`);
  assert.ok(packed("widget.js") <= 5 * kilo, `the loader has ${packed("widget.js")} bytes packed; 5 KB is the limit`);
  for (const name of names.filter((n) => !first.includes(n))) assert.ok(packed(name) <= 10 * kilo, `${name} has ${packed(name)} bytes packed; 10 KB is the limit`);
  console.log(`# loader ${packed("widget.js")} + chat ${together - packed("widget.js")} = ${together} bytes packed; lazy parts ${names.filter((n) => !first.includes(n)).map(packed)}`);
});

test("the loader is a classic script that leaves nothing but its one name", () => {
  const text = readFileSync(dist + "widget.js", "utf8");
  assert.match(text, /^\(function\(\)\{|^\(\(\)=>\{/);
  assert.doesNotMatch(text, /\binnerHTML\b|\beval\(|new Function\(/);
});

test("nothing makes markup of text", () => {
  for (const name of readdirSync("src").filter((n) => n.endsWith(".ts")))
    assert.doesNotMatch(readFileSync(`src/${name}`, "utf8"), /innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser/, name);
});
