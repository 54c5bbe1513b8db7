// The connection to `/live`: opens it, resumes after a cut, and tells the server what this page wants to see.
// State stays on screen while it is cut, and nothing is queued for later: a late approval could approve something else.

import { signal } from "@preact/signals";

import { connection, state } from "../store/store";
import { take, takeBoard, takeLost, takeOpening } from "../store/take";
import type { BoardView, FromServer, ToServer } from "../wire";
import { waitBefore } from "./backoff";
import { endSession, get, secret } from "./session";

/** A connection that is silent for longer is dead; the server sends a beat every 20 s. */
const SILENCE = 45_000;
/** After this long in the background the system may have cut the connection without a word. */
const HIDDEN_TOO_LONG = 10_000;

type Output = Extract<FromServer, { type: "lines" }>;
export type Follower = {
  /** The next line that it needs, counted from 1. */
  next(): number;
  take(frame: Output): void;
  cut(): void;
};

/** Why the board could not be fetched, as a sentence. */
export const failure = signal<string | null>(null);

let socket: WebSocket | null = null;
let failures = 0;
let retry: ReturnType<typeof setTimeout> | undefined;
let watchdog: ReturnType<typeof setTimeout> | undefined;
let hiddenSince: number | null = null;
let fetching: Promise<boolean> | null = null;
/** Whether the board on its way was asked for before the server said `anew`. */
let isOutdated = false;

// What the page wants while it is connected, said again after each cut.
const followers = new Map<string, Follower>();
const openRooms = new Map<string, number>();
let tailViewers = 0;

/** Connects while there is a session. */
export function start(): void {
  document.addEventListener("visibilitychange", onVisibility);
  window.addEventListener("online", () => reconnect());
  window.addEventListener("offline", () => drop());
  // Another session is another person: its connection starts from nothing.
  secret.subscribe((held) => {
    drop();
    if (held) void connect();
  });
}

/** Whether the frame went out. Nothing is kept for later. */
export function send(frame: ToServer): boolean {
  if (socket?.readyState !== WebSocket.OPEN || connection.value.word !== "live") return false;
  socket.send(JSON.stringify(frame));
  return true;
}

/** Lines of a run go to `follower` until the returned function is called. */
export function follow(run: string, follower: Follower): () => void {
  followers.set(run, follower);
  send({ type: "follow", run, from: follower.next() });
  return () => {
    if (followers.get(run) !== follower) return;
    followers.delete(run);
    send({ type: "unfollow", run });
  };
}

/** The last lines of all runs come until the returned function is called. */
export function watchTails(): () => void {
  if (tailViewers++ === 0) send({ type: "tails", on: true });
  return () => {
    if (--tailViewers === 0) send({ type: "tails", on: false });
  };
}

/** The messages of a room come until the returned function is called. */
export function openRoom(room: string): () => void {
  const viewers = openRooms.get(room) ?? 0;
  openRooms.set(room, viewers + 1);
  if (viewers === 0) askForRoom(room);
  let isOpen = true;
  return () => {
    if (!isOpen) return;
    isOpen = false;
    const left = (openRooms.get(room) ?? 1) - 1;
    if (left > 0) return void openRooms.set(room, left);
    openRooms.delete(room);
    send({ type: "close", room });
  };
}

/** Connects again at once, for example when the device is back online. */
export function reconnect(): void {
  if (!secret.value) return;
  drop();
  failures = 0;
  void connect();
}

async function connect(): Promise<void> {
  clearTimeout(retry);
  if (socket || !secret.value) return;
  if (!state.value.project && !(await fetchBoard())) return retryLater();
  if (socket || !secret.value) return;
  const opened = new WebSocket(new URL("/live", location.href.replace(/^http/, "ws")));
  socket = opened;
  opened.onopen = () => {
    const { project } = state.value;
    const after = project && { boot: project.boot, seq: project.seq };
    if (secret.value) opened.send(JSON.stringify({ type: "hello", secret: secret.value, after } satisfies ToServer));
  };
  opened.onmessage = (event: MessageEvent<string>) => {
    if (socket === opened) onFrame(JSON.parse(event.data) as FromServer);
  };
  opened.onclose = () => {
    if (socket === opened) drop();
  };
}

/** Forgets the connection, keeps what is known, and tries again if there is a session. */
function drop(): void {
  const dropped = socket;
  socket = null;
  dropped?.close();
  clearTimeout(watchdog);
  watchdog = undefined;
  clearTimeout(retry);
  if (connection.value.word === "live") {
    state.value = takeLost(state.value);
    for (const follower of followers.values()) follower.cut();
    setConnection("offline");
  }
  if (secret.value) retryLater();
  else setConnection("connecting");
}

function retryLater(): void {
  clearTimeout(retry);
  if (connection.value.word === "connecting" && failures > 0) setConnection("offline");
  retry = setTimeout(() => void connect(), waitBefore(failures++, Math.random()));
}

function onFrame(frame: FromServer): void {
  if (frame.type === "beat" || watchdog !== undefined) watch();
  state.value = take(state.value, frame, Date.now());
  switch (frame.type) {
    case "hello":
      failures = 0;
      setConnection("live");
      sayWhatIsWanted();
      if (state.value.held) void fetchBoard();
      break;
    case "anew":
      isOutdated = true;
      void fetchBoard();
      break;
    case "lines":
      followers.get(frame.run)?.take(frame);
      break;
    case "bye":
      if (frame.again) drop();
      else endSession(frame.why);
      break;
    default:
  }
}

/** Whether the board is there. Calls at the same time share one request. */
function fetchBoard(): Promise<boolean> {
  fetching ??= requestBoard().finally(() => (fetching = null));
  return fetching;
}

async function requestBoard(): Promise<boolean> {
  try {
    let view: BoardView;
    do {
      isOutdated = false;
      view = await get<BoardView>("/api/board");
    } while (isOutdated);
    state.value = takeBoard(state.value, view, Date.now());
    failure.value = null;
    return true;
  } catch (error) {
    failure.value = error instanceof Error ? error.message : String(error);
    // A connection without a current board would show old things as live.
    if (socket) drop();
    return false;
  }
}

function sayWhatIsWanted(): void {
  send({ type: "visible", on: !document.hidden });
  if (tailViewers > 0) send({ type: "tails", on: true });
  followAll();
  for (const room of openRooms.keys()) askForRoom(room);
}

function askForRoom(room: string): void {
  if (send({ type: "open", room, before: null })) state.value = takeOpening(state.value, room);
}

function onVisibility(): void {
  if (document.hidden) {
    hiddenSince = Date.now();
    // The server sends no more output and messages until they are asked for again.
    send({ type: "visible", on: false });
    return;
  }
  const wasAway = hiddenSince !== null && Date.now() - hiddenSince > HIDDEN_TOO_LONG;
  hiddenSince = null;
  if (wasAway || connection.value.word !== "live") return reconnect();
  sayWhatIsWanted();
}

function followAll(): void {
  for (const [run, follower] of followers) send({ type: "follow", run, from: follower.next() });
}

function watch(): void {
  clearTimeout(watchdog);
  watchdog = setTimeout(drop, SILENCE);
}

function setConnection(word: "connecting" | "live" | "offline"): void {
  if (connection.value.word !== word) connection.value = { word, since: Date.now() };
}
