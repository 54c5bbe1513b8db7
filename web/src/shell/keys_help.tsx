// The list of keys.

import { Dialog } from "../parts/dialog";
import "../styles/keys.css";
import { isHelpOpen } from "./help";

const HELP: ReadonlyArray<[string, string]> = [
  ["g n", "Now"],
  ["g b", "Board"],
  ["g c", "Chat"],
  ["/", "Find a story"],
  ["j  k", "Next and previous card"],
  ["?", "These keys"],
];

export function KeysHelp() {
  return (
    <Dialog title="Keys" onClose={() => (isHelpOpen.value = false)}>
      <dl class="keys">
        {HELP.map(([keys, what]) => (
          <div key={keys}>
            <dt>
              <kbd>{keys}</kbd>
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
      <p class="soft">No key allows, denies or moves anything.</p>
    </Dialog>
  );
}
