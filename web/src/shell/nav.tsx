// The navigation: at the foot of a phone, in reach of the thumb; in the top line of a wide screen.

import { Icon } from "../parts/icon";
import { page } from "../route";
import { waiting } from "../store/store";

const PLACES = [
  { name: "now", path: "/", label: "Now", pages: ["now", "question"] },
  { name: "board", path: "/board", label: "Board", pages: ["board", "story", "run", "archive"] },
  { name: "chat", path: "/chat", label: "Chat", pages: ["chat"] },
  { name: "cost", path: "/cost", label: "Cost", pages: ["cost"] },
] as const;

export function Nav() {
  const here = page.value.page;
  return (
    <nav class="places" aria-label="Pages">
      {PLACES.map((place) => (
        <a
          key={place.name}
          href={place.path}
          class={(place.pages as readonly string[]).includes(here) ? "here" : ""}
          aria-current={(place.pages as readonly string[]).includes(here) ? "page" : undefined}
        >
          <Icon name={place.name} />
          <span>{place.label}</span>
          {place.name === "now" && waiting.value > 0 && (
            <span class="badge">
              {waiting.value}
              <span class="hidden"> waiting for a person</span>
            </span>
          )}
        </a>
      ))}
    </nav>
  );
}
