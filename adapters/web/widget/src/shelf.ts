/** A place that outlives the page: the strings of one channel by name. Nothing in it throws. */
export interface Shelf {
  get(name: string): string | null;
  set(name: string, value: string): void;
  drop(name: string): void;
  names(): string[];
  /** Calls back when another tab of the same browser changed something. Returns how to stop. */
  watch(changed: (name: string | null, value: string | null) => void): () => void;
}

/**
 * openShelf opens the best storage that the browser allows: local storage, else the tab's own, else memory, which still
 * loses nothing while the page stays. Browsers refuse storage in private windows and in frames of other sites.
 */
export function openShelf(channel: string): Shelf {
  const prefix = `turnout.${channel}.`;
  const storage = usable(() => localStorage) ?? usable(() => sessionStorage) ?? null;
  const memory = new Map<string, string>();
  // What could not be written (the storage is full) is in memory and hides what the storage has of that name.
  return {
    get: (name) => memory.get(name) ?? attempt(() => storage?.getItem(prefix + name)) ?? null,
    set(name, value) {
      memory.delete(name);
      const kept = attempt(() => (storage?.setItem(prefix + name, value), storage !== null));
      if (!kept) memory.set(name, value);
    },
    drop(name) {
      memory.delete(name);
      attempt(() => storage?.removeItem(prefix + name));
    },
    names() {
      const found = new Set(memory.keys());
      attempt(() => {
        for (let i = 0; i < (storage?.length ?? 0); i++) {
          const key = storage?.key(i);
          if (key?.startsWith(prefix)) found.add(key.slice(prefix.length));
        }
      });
      return [...found];
    },
    watch(changed) {
      const listen = (e: StorageEvent) => {
        if (e.storageArea !== storage) return;
        if (e.key === null) changed(null, null);
        else if (e.key.startsWith(prefix)) changed(e.key.slice(prefix.length), e.newValue);
      };
      addEventListener("storage", listen);
      return () => removeEventListener("storage", listen);
    },
  };
}

function usable(open: () => Storage): Storage | undefined {
  return attempt(() => {
    const storage = open();
    const probe = "turnout.probe";
    storage.setItem(probe, probe);
    storage.removeItem(probe);
    return storage;
  });
}

function attempt<T>(act: () => T): T | undefined {
  try {
    return act();
  } catch {
    return undefined;
  }
}
