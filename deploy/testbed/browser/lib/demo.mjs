// The demo as whoever tries turnout has it: the program without a configuration, and what it prints.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { freePort, program } from "./gateway.mjs";

export class Demo {
  log = "";

  static async start() {
    const d = new Demo();
    d.dir = mkdtempSync(join(tmpdir(), "turnout-demo-"));
    d.base = `http://127.0.0.1:${await freePort()}`;
    await d.run();
    return d;
  }

  /** Starts the program, on the same address and folder as before, and reads the passwords that it prints. */
  async run() {
    const args = ["serve", "--folder", join(this.dir, "demo"), "--listen", this.base.slice("http://".length)];
    this.process = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] });
    this.process.stderr.on("data", (d) => (this.log += d));
    this.printed = "";
    const told = (async () => {
      for await (const line of createInterface({ input: this.process.stdout })) {
        this.printed += `${line}\n`;
        if (line.includes("Ctrl-C")) return;
      }
      throw new Error(`the demo did not start:\n${this.log}`);
    })();
    await told;
    this.passwords = Object.fromEntries([...this.printed.matchAll(/\b(robin|olga)\s+with\s+(\S+)/g)].map((m) => [m[1], m[2]]));
  }

  async kill(signal = "SIGKILL") {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const gone = once(this.process, "exit");
    this.process.kill(signal);
    await gone;
  }

  async stop() {
    await this.kill();
    rmSync(this.dir, { recursive: true, force: true });
  }
}
