// The token of a one-time link. It is in the fragment, which no server and no link preview ever sees.

import { signal } from "@preact/signals";

/** Until the person confirms or declines. */
export const linkToken = signal<string | null>(null);

/** Takes the token out of the address bar at once, so that it is in no history and on no screenshot. */
export function takeLinkToken(): void {
  const read = () => {
    const token = /^#l=([\w-]+)$/.exec(location.hash)?.[1];
    if (!token) return;
    linkToken.value = token;
    history.replaceState(null, "", location.pathname);
  };
  read();
  addEventListener("hashchange", read);
}
