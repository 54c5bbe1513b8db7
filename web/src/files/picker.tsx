// Choosing files for a message, and the list of those that are chosen.

import { size } from "../parts/format";
import { Icon } from "../parts/icon";
import { Press } from "../parts/press";
import type { ChosenFiles } from "./chosen";
import "../styles/files.css";

export function FilePicker({ files }: { files: ChosenFiles }) {
  return (
    <div class="file-picker">
      <FileList files={files} />
      <ChooseFiles files={files} place="form" />
    </div>
  );
}

/** The browser's own dialog, behind a button of this page. */
export function ChooseFiles({ files, place }: { files: ChosenFiles; place: "form" | "composer" }) {
  return (
    <label class={`press file-press ${place === "form" ? "plain" : "quiet"}`} title={place === "composer" ? "Add pictures or files" : undefined}>
      <Icon name="clip" />
      <span class={place === "composer" ? "hidden" : ""}>Add pictures or files</span>
      <input
        type="file"
        multiple
        class="hidden"
        onChange={(event) => {
          const input = event.currentTarget;
          files.add(input.files ?? []);
          // The same file can be chosen again after it was removed.
          input.value = "";
        }}
      />
    </label>
  );
}

/** The region is always there, so that screen readers announce what comes into it. */
export function FileList({ files }: { files: ChosenFiles }) {
  const list = files.list.value;
  return (
    <div class="chosen-files" role="status">
      {list.length > 0 && (
        <ul>
          {list.map(({ key, file }) => (
            <li key={key}>
              <span class="file-name">{file.name}</span> <span class="soft">{size(file.size)}</span>
              <Press kind="quiet" label={`Remove ${file.name}`} onPress={() => files.remove(key)}>
                ✕
              </Press>
            </li>
          ))}
        </ul>
      )}
      {files.uploading.value !== null && <p class="note sending">{files.uploading.value}</p>}
      {files.leftOut.value !== null && <p class="failure">{files.leftOut.value}</p>}
    </div>
  );
}
