// Addresses of the page as values, in both directions. Pure.

export const TABS = ["text", "diff", "runs", "merge", "history"] as const;
export type Tab = (typeof TABS)[number];

export type Page =
  | { page: "now" | "board" | "cost" | "me" | "login" | "archive" | "nothing" }
  | { page: "story"; id: number; tab: Tab }
  | { page: "question"; id: number }
  | { page: "run"; id: string }
  | { page: "chat"; room: string | null };

export function pageOf(address: string): Page {
  const [first = "", second, third, ...rest] = address.split("/").slice(1).map(decoded);
  if (rest.length > 0) return { page: "nothing" };
  switch (first) {
    case "":
      return second === undefined ? { page: "now" } : { page: "nothing" };
    case "board":
    case "cost":
    case "me":
    case "login":
    case "archive":
      return second === undefined ? { page: first } : { page: "nothing" };
    case "story": {
      const id = number(second);
      const tab = TABS.find((one) => one === (third ?? "text"));
      return id !== null && tab ? { page: "story", id, tab } : { page: "nothing" };
    }
    case "q": {
      const id = number(second);
      return id !== null && third === undefined ? { page: "question", id } : { page: "nothing" };
    }
    case "run":
      return second && third === undefined ? { page: "run", id: second } : { page: "nothing" };
    case "chat":
      return third === undefined ? { page: "chat", room: second || null } : { page: "nothing" };
    default:
      return { page: "nothing" };
  }
}

export const storyPath = (id: number, tab: Tab = "text") => (tab === "text" ? `/story/${id}` : `/story/${id}/${tab}`);
export const runPath = (id: string) => `/run/${encodeURIComponent(id)}`;
export const roomPath = (room: string) => `/chat/${encodeURIComponent(room)}`;
export const questionPath = (id: number) => `/q/${id}`;

function number(text: string | undefined): number | null {
  return text && /^\d{1,9}$/.test(text) ? Number(text) : null;
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
