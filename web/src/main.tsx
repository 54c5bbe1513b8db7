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
if (root) {
  root.replaceChildren();
  render(<App />, root);
}
