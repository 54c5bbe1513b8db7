// The chat: this person's rooms, and the messages of one of them.

import { useEffect, useLayoutEffect, useRef } from "preact/hooks";

import { Composer } from "../chat/composer";
import { Message } from "../chat/message";
import { openRoom, send } from "../live/link";
import { Press } from "../parts/press";
import { Loading } from "../parts/reading";
import { roomPath } from "../address";
import { isLive, me, state } from "../store/store";
import { emptyRoom } from "../store/state";
import "../styles/chat.css";

/** Closer to the end than this, the chat stays at its end. */
const NEAR_END = 80;

export function ChatPage({ room }: { room: string | null }) {
  const rooms = me.value?.rooms ?? [];
  const shown = rooms.find((one) => one.room === room) ?? (room === null ? rooms[0] : undefined);
  return (
    <div class="chat">
      <h1 class="hidden">Chat</h1>
      {rooms.length > 1 && (
        <nav class="tabs rooms" aria-label="Rooms">
          {rooms.map((one) => (
            <a key={one.room} href={roomPath(one.room)} aria-current={one.room === shown?.room ? "page" : undefined}>
              {one.title}
            </a>
          ))}
        </nav>
      )}
      {shown ? <Room key={shown.room} room={shown.room} title={shown.title} /> : <p class="empty">This room is not there, or not for you.</p>}
    </div>
  );
}

function Room({ room, title }: { room: string; title: string }) {
  const box = useRef<HTMLDivElement>(null);
  const isAtEnd = useRef(true);
  const height = useRef(0);
  useEffect(() => openRoom(room), [room]);
  const { messages, more, opened, activity } = state.value.rooms.get(room) ?? emptyRoom;

  // At the end it stays there; elsewhere, what is being read stays in its place while earlier messages come above it.
  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    if (isAtEnd.current) element.scrollTop = element.scrollHeight;
    else if (element.scrollTop < NEAR_END) element.scrollTop += element.scrollHeight - height.current;
    height.current = element.scrollHeight;
  }, [messages]);

  const oldest = messages[0];
  const byId = new Map(messages.map((message) => [message.id, message]));
  const name = me.value?.name;
  return (
    <>
      <h2 class="hidden">{title}</h2>
      <div
        ref={box}
        class="messages"
        tabIndex={0}
        role="log"
        aria-live="off"
        aria-label={`Messages in ${title}`}
        onScroll={(event) => {
          const element = event.currentTarget;
          isAtEnd.current = element.scrollHeight - element.scrollTop - element.clientHeight < NEAR_END;
          height.current = element.scrollHeight;
        }}
      >
        {more && oldest && (
          <div class="earlier">
            <Press kind="quiet" why={isLive.value ? null : "Offline."} onPress={() => void send({ type: "open", room, before: oldest.id })}>
              Earlier messages
            </Press>
          </div>
        )}
        {!opened && messages.length === 0 && <Loading />}
        {opened && messages.length === 0 && <p class="empty">No messages yet. Try “status”.</p>}
        <ol class="message-list">
          {messages.map((message) => (
            <Message
              key={message.id}
              message={message}
              about={message.reply_to === null ? undefined : byId.get(message.reply_to)}
              isMine={message.by !== null && message.by === name}
            />
          ))}
        </ol>
      </div>
      <p class="activity soft" role="status">
        {activity === "working" && "storkit is working…"}
        {activity === "asking" && "storkit waits for an answer."}
      </p>
      <Composer room={room} title={title} />
    </>
  );
}
