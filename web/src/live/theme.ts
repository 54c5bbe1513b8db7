// The person's choice of colours. Without one the device decides.

import { signal } from "@preact/signals";

import { read, write } from "./storage";

export const THEMES = ["device", "light", "dark"] as const;
export type Theme = (typeof THEMES)[number];

const KEY = "storkit.theme";
const stored = read(KEY);
export const theme = signal<Theme>(THEMES.find((one) => one === stored) ?? "device");

export function applyTheme(): void {
  theme.subscribe((chosen) => {
    document.documentElement.dataset.theme = chosen;
    write(KEY, chosen === "device" ? null : chosen);
  });
}
