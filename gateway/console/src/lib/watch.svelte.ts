import { createSubscriber } from "svelte/reactivity";
import type { Source } from "./env.ts";

/** Makes a source something that markup can depend on: what is read through now is read again when it changes. */
export function watch<T extends Source>(source: () => T): { readonly now: T } {
  const subscribers = new WeakMap<T, () => void>();
  return {
    get now() {
      const s = source();
      let subscribe = subscribers.get(s);
      if (!subscribe) {
        subscribe = createSubscriber((update) => s.on(update));
        subscribers.set(s, subscribe);
      }
      subscribe();
      return s;
    },
  };
}

/** One tick a second for the whole page. */
export const tick = $state({ second: 0 });

export function startTicking(): () => void {
  const id = setInterval(() => tick.second++, 1000);
  return () => clearInterval(id);
}
