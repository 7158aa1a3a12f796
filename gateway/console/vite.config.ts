import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

export default defineConfig({
  base: "./", // wherever a proxy puts the console
  plugins: [svelte()],
  build: {
    outDir: "dist",
    emptyOutDir: true,
    target: ["chrome123", "firefox128", "safari17.5"], // light-dark()
    assetsInlineLimit: 0, // the policy of the page loads nothing from data: URLs
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
});
