// Files that a person has chosen for a message, until it is sent. They stay while the person looks at other pages; a browser keeps none
// over a reload.

import { computed, signal, type ReadonlySignal } from "@preact/signals";

import type { Sender } from "../live/say";
import { postFile, secret } from "../live/session";
import type { UploadView } from "../wire";

/** As many as storkit takes with one message, and the largest of them in bytes. */
export const FILES_MAX = 10;
export const FILE_MAX = 32 * 1024 * 1024;

export type ChosenFile = {
  key: number;
  file: File;
  /** Under which the server has it. */
  id: string | null;
};

export type ChosenFiles = {
  list: ReadonlySignal<readonly ChosenFile[]>;
  /** Why some of those that were chosen last are left out, as a sentence. */
  leftOut: ReadonlySignal<string | null>;
  add(files: Iterable<File>): void;
  /** Pictures from the clipboard; text is pasted as always. */
  addPasted(event: ClipboardEvent): void;
  remove(key: number): void;
  clear(): void;
  /** The one on its way, in words. */
  uploading: ReadonlySignal<string | null>;
  /** Uploads them, and then sends the text with them. Where one fails, nothing is sent, and the sender says why. */
  sendWith(sender: Sender, text: string, room?: string): Promise<void>;
  /** The server has none of them any more. */
  forgetUploads(): void;
};

const open = new Map<string, ChosenFiles>();
let lastKey = 0;

/** The files under `key`, shared by all who use it. */
export function chosenFiles(key: string): ChosenFiles {
  let files = open.get(key);
  if (!files) open.set(key, (files = made()));
  return files;
}

// Nothing of one person's goes with a message of the next.
secret.subscribe(() => {
  for (const files of open.values()) files.clear();
});

function made(): ChosenFiles {
  const list = signal<readonly ChosenFile[]>([]);
  const leftOut = signal<string | null>(null);
  const uploading = signal<string | null>(null);
  const change = (key: number, id: string | null) => {
    list.value = list.value.map((one) => (one.key === key ? { ...one, id } : one));
  };
  const add = (files: Iterable<File>) => {
    const { taken, why } = admitted(list.value.length, [...files]);
    list.value = [...list.value, ...taken.map((file) => ({ key: ++lastKey, file, id: null }))];
    leftOut.value = why;
  };
  const upload = async () => {
    const all = list.value;
    const ids: string[] = [];
    for (const [at, { key, file, id }] of all.entries()) {
      uploading.value = `Uploading ${file.name}${all.length > 1 ? ` (${at + 1} of ${all.length})` : ""}…`;
      // One that is there already is not sent a second time after another one has failed.
      const known = id ?? (await postFile<UploadView>(`/api/upload?name=${encodeURIComponent(file.name)}`, file)).id;
      change(key, known);
      ids.push(known);
    }
    return ids;
  };
  return {
    list: computed(() => list.value),
    leftOut: computed(() => leftOut.value),
    add,
    addPasted(event) {
      const files = [...(event.clipboardData?.files ?? [])];
      if (files.length === 0) return;
      event.preventDefault();
      add(files);
    },
    remove(key) {
      list.value = list.value.filter((one) => one.key !== key);
      leftOut.value = null;
    },
    clear() {
      list.value = [];
      leftOut.value = null;
    },
    uploading: computed(() => uploading.value),
    async sendWith(sender, text, room) {
      if (uploading.value !== null) return;
      sender.clear();
      try {
        const ids = await upload();
        sender.send(ids.length > 0 ? { say: text, files: ids } : { say: text }, room);
      } catch (error) {
        sender.refuse(error instanceof Error ? error.message : String(error));
      } finally {
        uploading.value = null;
      }
    },
    forgetUploads() {
      list.value = list.value.map((one) => ({ ...one, id: null }));
    },
  };
}

/** Those that fit, and why the others do not. Pure. */
export function admitted<Sized extends { name: string; size: number }>(before: number, files: readonly Sized[]): { taken: Sized[]; why: string | null } {
  const fitting = files.filter((file) => file.size <= FILE_MAX);
  const taken = fitting.slice(0, Math.max(0, FILES_MAX - before));
  const tooLarge = files.find((file) => file.size > FILE_MAX);
  const why = [
    tooLarge ? `“${tooLarge.name}” is larger than ${FILE_MAX >> 20} MB.` : "",
    taken.length < fitting.length ? `At most ${FILES_MAX} files go with one message.` : "",
  ];
  return { taken, why: why.filter(Boolean).join(" ") || null };
}
