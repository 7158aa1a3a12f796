// Builds the widget into dist: first the chat and what it loads when it needs it, as modules whose names hold a digest of
// their content, then the loader, a classic script that knows the chat's name.
import { readFileSync, readdirSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "vite";

const root = fileURLToPath(new URL(".", import.meta.url));
const dist = root + "dist";
const { version } = JSON.parse(readFileSync(root + "package.json", "utf8"));

// Vite would empty the folder with the file that keeps it in the repository.
for (const name of readdirSync(dist)) if (name !== ".gitignore") rmSync(`${dist}/${name}`, { recursive: true });

const common = {
  root,
  configFile: false,
  logLevel: "warn",
  publicDir: false,
};
const target = ["chrome105", "firefox105", "safari16.4"];

const chat = await build({
  ...common,
  build: {
    outDir: dist,
    emptyOutDir: false,
    target,
    modulePreload: false,
    minify: true,
    rollupOptions: {
      input: { chat: root + "src/chat.ts" },
      preserveEntrySignatures: "strict",
      output: { format: "es", entryFileNames: "chat-[hash].js", chunkFileNames: "[name]-[hash].js" },
    },
  },
});
const entry = [chat].flat().flatMap((o) => o.output).find((o) => o.type === "chunk" && o.isEntry);

await build({
  ...common,
  define: { __CHAT__: JSON.stringify(entry.fileName), __VERSION__: JSON.stringify(version) },
  build: {
    outDir: dist,
    emptyOutDir: false,
    target,
    minify: true,
    lib: { entry: root + "src/loader.ts", formats: ["iife"], name: "turnoutLoader", fileName: () => "widget.js" },
  },
});
