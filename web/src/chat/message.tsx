// One message of a room, with what it replies to and its buttons.

import { useRef } from "preact/hooks";
import { memo } from "../parts/memo";
import { useSignal } from "@preact/signals";

import { download } from "../live/download";
import { useSender } from "../live/say";
import { getBlob } from "../live/session";
import { Html } from "../parts/html";
import { Outcome } from "../parts/outcome";
import { beginningOf } from "../parts/plain_text";
import { Press } from "../parts/press";
import { useSteady } from "../parts/steady";
import { At } from "../parts/time";
import { QuestionCard } from "../question/card";
import { questions, whyNot } from "../store/store";
import type { MessageView } from "../wire";

type Props = { message: MessageView; about: MessageView | undefined; isMine: boolean };

export const Message = memo(function Message({ message, about, isMine }: Props) {
  const question = message.question === null ? undefined : questions.value?.get(message.question);
  return (
    <li class={`message tone-${message.tone} ${isMine ? "mine" : message.by === null ? "bot" : "person"}`}>
      <p class="message-head soft">
        <strong>{message.by ?? "storkit"}</strong> <At at={message.at} />
      </p>
      {about && <p class="reply-to soft">↳ {about.by ?? "storkit"}: {beginningOf(about.html)}</p>}
      {question ? <QuestionCard question={question} /> : <Html html={message.html} />}
      {message.file !== null && <FileOf message={message} name={message.file} />}
      {message.live && (
        <p class="message-live soft">
          <span class="dot" aria-hidden="true" /> still changing
        </p>
      )}
      {!question && message.choices.length > 0 && <Choices message={message} />}
    </li>
  );
});

/** Read with the session, which a plain link would not carry. */
function FileOf({ message, name }: { message: MessageView; name: string }) {
  const failure = useSignal<string | null>(null);
  const save = async () => {
    failure.value = null;
    try {
      const query = new URLSearchParams({ room: message.room, message: message.id });
      download(await getBlob(`/api/file?${query.toString()}`), name);
    } catch (error) {
      failure.value = error instanceof Error ? error.message : String(error);
    }
  };
  return (
    <p class="row">
      <Press onPress={() => void save()}>⇩ {name}</Press>
      <span class="failure" role="status">
        {failure.value}
      </span>
    </p>
  );
}

function Choices({ message }: { message: MessageView }) {
  const row = useRef<HTMLDivElement>(null);
  const steady = useSteady(row);
  const sender = useSender();
  return (
    <div ref={row} class={steady.isSteady ? "" : "settling"}>
      <div class="row">
        {message.choices.map((choice) => (
          <Press
            key={choice.key}
            why={whyNot("user")}
            onRefused={sender.refuse}
            onPress={() => {
              // As on a question's card: no tap on what has just moved under the finger.
              if (!steady.check()) return sender.refuse("It has just moved. Tap again.");
              sender.send({ choose: choice.key, message: message.id }, message.room);
            }}
          >
            {choice.label}
          </Press>
        ))}
      </div>
      <Outcome sender={sender} />
    </div>
  );
}
