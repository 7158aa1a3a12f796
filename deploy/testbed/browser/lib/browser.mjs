// The browser: Debian's Chromium, driven by playwright-core. Each launch has a profile of its own.
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const paths = [process.env.CHROMIUM, "/usr/bin/chromium"];

export function launch() {
  const executablePath = paths.find((p) => p && existsSync(p));
  if (!executablePath) throw new Error("there is no Chromium: apt-get install chromium, or name it in CHROMIUM");
  return chromium.launch({
    executablePath,
    headless: true,
    // Without --no-sandbox Chromium does not start as root; the rest keeps it from talking to anybody else.
    args: [
      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    ],
  });
}

export const desktop = { viewport: { width: 1280, height: 800 } };
export const phone = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 };

const axeSource = createRequire(import.meta.url).resolve("axe-core/axe.min.js");

/**
 * What axe-core finds wrong with a page, shadow roots included, as lines; empty is good. The page's policy would not let
 * the checker in, so the context must have been made with bypassCSP.
 */
export async function faults(page) {
  await page.addScriptTag({ path: axeSource });
  // Colours that are on their way from one to another are neither.
  await page.waitForFunction(() => {
    const roots = [document, ...[...document.querySelectorAll("*")].map((e) => e.shadowRoot).filter(Boolean)];
    const moving = new Set(roots.flatMap((r) => r.getAnimations()));
    return [...moving].every((a) => a.playState !== "running" || a.effect?.getTiming().iterations === Infinity);
  });
  const found = await page.evaluate(() =>
    window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }),
  );
  return found.violations.flatMap((v) => v.nodes.map((n) => `${v.id}: ${n.target.flat().join(" ")}: ${n.failureSummary}`));
}
