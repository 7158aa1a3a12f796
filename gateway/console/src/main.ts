import { mount } from "svelte";
import App from "./App.svelte";
import { browser } from "./lib/browser.ts";
import "./tokens.css";
import "./app.css";

const target = document.getElementById("app");
if (target) mount(App, { target, props: { env: browser() } });
