// The field to write in a room. The draft stays until the message was taken.

import { chosenFiles } from "../files/chosen";
import { ChooseFiles, FileList } from "../files/picker";
import { draft } from "../live/drafts";
import { useSender, type Sender } from "../live/say";
import { Outcome } from "../parts/outcome";
import { whyNot } from "../store/store";
import "../styles/composer.css";

export function Composer({ room, title }: { room: string; title: string }) {
  const text = draft(`room.${room}`, "");
  const files = chosenFiles(`room.${room}`);
  const sender: Sender = useSender({
    onTaken() {
      text.value = "";
      files.clear();
      // The answer comes as a message of the room.
      sender.clear();
    },
    onRefused: files.forgetUploads,
  });
  const sent = sender.sent.value;
  const why = whyNot("user");
  const isSending = files.uploading.value !== null || (sent !== null && sent.message === null && sent.refused === null);
  const submit = () => {
    const isEmpty = text.value.trim() === "" && files.list.value.length === 0;
    if (!isEmpty && !isSending && why === null) void files.sendWith(sender, text.value.trim(), room);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    // On a phone Enter makes a line, and the button sends.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || matchMedia("(pointer: coarse)").matches) return;
    event.preventDefault();
    submit();
  };
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
    >
      <Outcome sender={sender} />
      <FileList files={files} />
      <div class="row">
        <label class="grow">
          <span class="hidden">Message to {title}</span>
          <textarea
            data-kept
            rows={Math.min(6, text.value.split("\n").length)}
            placeholder="A command, or what to do"
            value={text.value}
            onInput={(event) => (text.value = event.currentTarget.value)}
            onKeyDown={onKeyDown}
            onPaste={(event) => files.addPasted(event)}
          />
        </label>
        <ChooseFiles files={files} place="composer" />
        <button class="press primary" type="submit" aria-disabled={why !== null || isSending} title={why ?? undefined}>
          {isSending ? "Sending…" : "Send"}
        </button>
      </div>
    </form>
  );
}
