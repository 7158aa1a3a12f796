// Makes the picture at the top of README.md: the shop with the chat, and beside it the console of who answers.
//
//   make build && node deploy/testbed/browser/picture.mjs deploy/demo.webp
import { writeFileSync } from "node:fs";
import { launch } from "./lib/browser.mjs";
import { Demo } from "./lib/demo.mjs";
import { open, say, sees } from "./lib/stage.mjs";

const file = process.argv[2];
if (!file) throw new Error("name the file to write");
const height = 800;
const demo = await Demo.start();
const browser = await launch();
try {
  const page = async (width, path) => {
    const context = await browser.newContext({ viewport: { width, height }, deviceScaleFactor: 2, colorScheme: "light", reducedMotion: "reduce" });
    const p = await context.newPage();
    await p.goto(demo.base + path);
    return p;
  };
  const customer = await page(940, "/");
  await open(customer);
  await say(customer, "where is order KL-2041?");
  await sees(customer, "delivered today");
  await say(customer, "nothing came. can I speak to someone?");
  await sees(customer, "You are next");

  const agent = await page(1240, "/console/");
  await agent.getByLabel("Login").fill("robin");
  await agent.getByLabel("Password", { exact: true }).fill(demo.passwords.robin);
  await agent.getByRole("button", { name: "Continue" }).click();
  await agent.locator("[data-row]").click();
  const thread = agent.locator(".pane").getByRole("log");
  await thread.getByText("Handed off by rule").waitFor();
  await agent.keyboard.press("a");
  const box = agent.locator(".pane").getByRole("textbox");
  await box.fill("Robin here. I have asked the courier, and a new one leaves us today.");
  await box.press("Control+Enter");
  await sees(customer, "a new one leaves us today");
  await say(customer, "thank you!");
  await thread.getByText("thank you!").waitFor();
  await agent.locator(".pane").getByRole("button", { name: "Note" }).click();
  await box.fill("KL-2041 replaced, courier claim 55-18");

  const left = await customer.screenshot();
  const right = await agent.screenshot();
  const table = await browser.newPage({ viewport: { width: 800, height: 600 } });
  const data = await table.evaluate(async ([a, b]) => {
    const load = async (src) => Object.assign(new Image(), { src });
    const images = [await load(a), await load(b)];
    await Promise.all(images.map((i) => i.decode()));
    const scale = 0.42, gap = 28, round = 14; // of twice the size of the pages
    const canvas = document.createElement("canvas");
    canvas.width = images.reduce((w, i) => w + i.width * scale + gap, gap);
    canvas.height = images[0].height * scale + 2 * gap;
    const c = canvas.getContext("2d");
    c.imageSmoothingQuality = "high";
    c.fillStyle = "#dfe3e8";
    c.fillRect(0, 0, canvas.width, canvas.height);
    let x = gap;
    for (const i of images) {
      c.save();
      c.beginPath();
      c.roundRect(x, gap, i.width * scale, i.height * scale, round);
      c.clip();
      c.drawImage(i, x, gap, i.width * scale, i.height * scale);
      c.restore();
      x += i.width * scale + gap;
    }
    return canvas.toDataURL("image/webp", 0.86);
  }, [left, right].map((png) => `data:image/png;base64,${png.toString("base64")}`));
  writeFileSync(file, Buffer.from(data.split(",")[1], "base64"));
} finally {
  await browser.close();
  await demo.stop();
}
