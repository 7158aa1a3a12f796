import assert from "node:assert/strict";
import { test } from "node:test";
import { es } from "../src/lang/es.ts";
import { choose, en, speech } from "../src/strings.ts";

const holes = (s: unknown): string[] => (typeof s === "string" ? [...s.matchAll(/\{(\w+)\}/g)].map((m) => m[1] as string).sort() : []);

test("every table has every sentence, with the same values in it", () => {
  for (const [key, value] of Object.entries(en)) {
    const other = es[key as keyof typeof es];
    assert.equal(typeof other, typeof value, key);
    if (typeof value === "string") {
      assert.ok((other as string).trim(), key);
      assert.deepEqual(holes(other), holes(value), key);
    } else for (const form of Object.values(other)) assert.deepEqual(holes(form), ["n"], key);
  }
  assert.deepEqual(Object.keys(es).sort(), Object.keys(en).sort());
});

test("numbers have their words", () => {
  const s = speech("en", {});
  assert.deepEqual([1, 2, 3, 4, 11, 21, 22].map((n) => s.count(en.place, n, "ordinal")), ["1st in line", "2nd in line", "3rd in line", "4th in line", "11th in line", "21st in line", "22nd in line"]);
  assert.equal(s.count(en.unread, 1), "1 new message");
  assert.equal(speech("es", es).count(es.unread, 2), "2 mensajes nuevos");
});

test("a table of a page's own may be short, and its grammar is its own", () => {
  const ar = speech("ar", { dir: "rtl", talk: "تحدّث مع شخص", unread: { one: "رسالة", two: "رسالتان", few: "{n} رسائل", other: "{n} رسالة" } });
  assert.equal(ar.words.dir, "rtl");
  assert.equal(ar.words.send, en.send);
  assert.equal(ar.count(ar.words.unread, 2), "رسالتان");
  assert.match(ar.count(ar.words.unread, 5), /رسائل/);
});

test("a tag that no browser knows is no reason to be silent", () => {
  assert.equal(speech("not a tag", {}).count(en.unread, 1), "1 new message");
});

test("the language is the page's, then the reader's, then English", () => {
  const names = ["en", "es", "pt-BR"];
  assert.equal(choose(["es-MX", "en"], names), "es");
  assert.equal(choose(["pt-br"], names), "pt-BR");
  assert.equal(choose(["fr", "es"], names), "es");
  assert.equal(choose(["fr"], names), "en");
  assert.equal(choose([], names), "en");
});

test("sizes are told as people tell them", () => {
  const s = speech("en", {});
  assert.deepEqual([1, 2048, 300_000, 10 << 20].map((n) => s.size(n)), ["1 KB", "2 KB", "293 KB", "10 MB"]);
});
