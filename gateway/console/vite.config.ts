import { readdirSync, rmSync } from "node:fs";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

const dist = new URL("dist/", import.meta.url);

export default defineConfig({
  base: "./", // wherever a proxy puts the console
  plugins: [
    svelte(),
    {
      name: "empty-dist",
      apply: "build",
      buildStart() {
        // Vite would empty the folder with the file that keeps it in the repository.
        for (const name of readdirSync(dist)) if (name !== ".gitignore") rmSync(new URL(name, dist), { recursive: true });
      },
    },
  ],
  build: {
    outDir: "dist",
    emptyOutDir: false,
    target: ["chrome123", "firefox128", "safari17.5"], // light-dark()
    assetsInlineLimit: 0, // the policy of the page loads nothing from data: URLs
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
});
