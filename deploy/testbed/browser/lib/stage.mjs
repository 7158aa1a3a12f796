// What the stories of browsers have in common: a gateway, a site and a browser per file, and words for what one does in
// the chat.
import { after, before } from "node:test";
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { desktop, faults, launch } from "./browser.mjs";
import { Gateway } from "./gateway.mjs";
import { Site } from "./site.mjs";

/** How long a story waits for something that is to happen; it says nothing about how fast that should be. */
export const patience = 60_000;

/** Where pictures go, if anybody wants to look: TURNOUT_SHOTS. */
const shots = process.env.TURNOUT_SHOTS;

/** Sets up before the tests of a file and takes down after them. The fields are there from the first test on. */
export function stage(o = {}) {
  const s = {
    /** A page in a context of its own, a new visitor. complaints collects what the browser has to say against it. */
    async page(options = {}) {
      const context = await s.browser.newContext({ ...desktop, ...options });
      context.setDefaultTimeout(patience);
      return s.tab(context);
    },
    async tab(context) {
      const page = await context.newPage();
      page.complaints = [];
      page.on("pageerror", (e) => page.complaints.push(`error: ${e.message}`));
      page.on("console", (m) => {
        const text = m.text();
        // What does not load is said by the browser itself, and is what some stories are about.
        if (m.type() === "error" && !/Failed to load resource|WebSocket connection to/.test(text)) page.complaints.push(text);
      });
      return page;
    },
    /** Ends what a test left behind; for afterEach. */
    async tidy() {
      for (const context of s.browser.contexts()) await context.close();
      Object.assign(s.site, { tag: "", theme: "", lang: "en", policy: undefined });
      await s.gateway.tidy();
    },
    /** Opens the shop with its chat open. */
    async chat(options = {}) {
      const page = await s.page(options);
      await page.goto(s.site.origin);
      await open(page);
      return page;
    },
  };
  before(async () => {
    s.site = await Site.start();
    s.gateway = await Gateway.start({ origins: [s.site.origin], ...o });
    s.site.gateway = s.gateway.base;
    s.browser = await launch();
  });
  after(async () => {
    await s.browser?.close();
    await s.gateway?.stop();
    s.site?.stop();
  });
  return s;
}

export const launcher = (page) => page.locator("[data-turnout] .launch");
export const dialog = (page) => page.getByRole("dialog");
export const log = (page) => page.getByRole("log");
export const field = (page) => dialog(page).getByRole("textbox");
export const person = (page) => dialog(page).locator(".tw-person");

export async function open(page) {
  await launcher(page).click();
  await dialog(page).waitFor();
}

export async function say(page, text) {
  await field(page).fill(text);
  await field(page).press("Enter");
}

/** Waits until something is to be seen in the chat. */
export async function sees(page, text) {
  await dialog(page).getByText(text).first().waitFor();
}

/** The bubbles in their order: "me: …" of the customer, "person: …" of an agent, "bot: …" of anybody else. */
export function bubbles(page) {
  return dialog(page)
    .locator(".tw-i")
    .evaluateAll((rows) =>
      rows.flatMap((r) => {
        const bubble = r.querySelector(".tw-m:not(.tw-typ)");
        if (!bubble || r.checkVisibility?.() === false) return [];
        const who = r.classList.contains("me") ? "me" : r.classList.contains("hum") ? "person" : "bot";
        return [`${r.classList.contains("pending") ? "waiting " : ""}${who}: ${bubble.innerText}`];
      }),
    );
}

/** Waits until the bubbles are exactly these. */
export async function shows(page, want) {
  await until(async () => JSON.stringify(await bubbles(page)) === JSON.stringify(want)).catch(async () => assert.deepEqual(await bubbles(page), want));
}

/** Asks again until something holds: what is outside has no other way to tell. */
export async function until(holds) {
  const end = Date.now() + patience;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error("it did not happen");
    await new Promise((done) => setTimeout(done, 25));
  }
}

/** A promise that the test fulfils. */
export function later() {
  let fulfil;
  const promise = new Promise((done) => (fulfil = done));
  return Object.assign(promise, { fulfil });
}

/** Takes a picture for people to look at. */
export async function shot(page, name) {
  if (!shots) return;
  mkdirSync(shots, { recursive: true });
  await page.screenshot({ path: join(shots, `${name}.png`) });
}

/** What lies outside of the window to the side; with the text that it holds. */
const sticksOut = (page) =>
  page.evaluate(() => [...document.querySelectorAll("body *")].filter((e) => {
    const r = e.getBoundingClientRect();
    if (r.width === 0 || r.right <= innerWidth + 1) return false;
    for (let p = e.parentElement; p; p = p.parentElement) if (/auto|hidden|scroll|clip/.test(getComputedStyle(p).overflowX) && p !== document.body) return false;
    return true;
  }).map((e) => `${e.tagName}.${e.className}: ${e.textContent.slice(0, 40)}`));

/**
 * Looks at a page as it is: the checker finds nothing, nothing sticks out. The checker needs the policy out of its way
 * (bypassCSP), so that is watched in the other stories.
 */
export async function look(page, name) {
  // Colours that are on their way are nobody's: what is looked at is what stays.
  await page.evaluate(async () => {
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    await Promise.all(document.getAnimations().filter((a) => a instanceof CSSTransition).map((a) => a.finished.catch(() => {})));
  });
  await shot(page, name);
  assert.deepEqual(await faults(page), [], name);
  assert.deepEqual(await sticksOut(page), [], name);
}

/** Looks at a page in both themes, and leaves it in the one that it was in. */
export async function lookTwice(page, name) {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    await look(page, `${name}-${colorScheme}`);
  }
  await page.emulateMedia({ colorScheme: null });
}
