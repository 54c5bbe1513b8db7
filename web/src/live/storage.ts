// What this browser keeps: the session, drafts, and the choice of colours. A browser that keeps nothing still works for a while.

const memory = new Map<string, string>();

export function read(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return memory.get(key) ?? null;
  }
}

/** An empty value is removed. */
export function write(key: string, value: string | null): void {
  try {
    if (value) localStorage.setItem(key, value);
    else localStorage.removeItem(key);
  } catch {
    if (value) memory.set(key, value);
    else memory.delete(key);
  }
}

export function readJson<Value>(key: string, otherwise: Value): Value {
  try {
    return JSON.parse(read(key) ?? "") as Value;
  } catch {
    return otherwise;
  }
}
