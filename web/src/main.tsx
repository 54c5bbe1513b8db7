// Starts the page: the session of a one-time link, the connection, the addresses, and the first drawing.

import { render } from "preact";

import { App, fetchFirstPage } from "./app";
import { start } from "./live/link";
import { applyTheme } from "./live/theme";
import { takeLinkToken } from "./pages/login_token";
import { startRouting } from "./route";

applyTheme();
takeLinkToken();
startRouting();
start();
fetchFirstPage();

const root = document.getElementById("page");
// As a task of its own: on a slow phone, loading and drawing in one would keep it from answering a finger.
setTimeout(() => {
  if (!root) return;
  root.replaceChildren();
  render(<App />, root);
});
