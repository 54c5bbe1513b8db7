// The session of this browser: signing in and out, and requests that carry it. There is no cookie: any server on this host would get it.

import { signal } from "@preact/signals";

import { firstState } from "../store/state";
import { state } from "../store/store";
import type { Login, Me } from "../wire";
import { read, write } from "./storage";

const KEY = "storkit.session";
const TIMEOUT = 20_000;
/** As long as the server waits. */
const UPLOAD_TIMEOUT = 300_000;

export const secret = signal(read(KEY));

/** A failed request, with the server's own sentence if it sent one. */
export class RequestFailed extends Error {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message);
  }
}

export async function signIn(proof: { token: string } | { code: string }): Promise<Me> {
  const answer = await request("/login", { method: "POST", body: JSON.stringify(proof) }, null);
  const login = (await answer.json()) as Login;
  write(KEY, login.secret);
  state.value = { ...firstState(), me: login.me };
  secret.value = login.secret;
  return login.me;
}

/** The session ends here in any case, also if the server cannot be told. */
export async function signOut(): Promise<void> {
  const held = secret.value;
  endSession(null);
  if (held) await request("/logout", { method: "POST" }, held).catch(() => undefined);
}

/** `why` is shown on the page for signing in. */
export function endSession(why: string | null): void {
  write(KEY, null);
  secret.value = null;
  state.value = { ...firstState(), ended: why };
}

export async function get<View>(path: string): Promise<View> {
  return (await (await getAny(path)).json()) as View;
}

export async function getBlob(path: string): Promise<Blob> {
  return (await getAny(path)).blob();
}

/** Sends a file as it is. */
export async function postFile<View>(path: string, file: Blob): Promise<View> {
  return (await (await withSession(path, { method: "POST", body: file }, UPLOAD_TIMEOUT)).json()) as View;
}

function getAny(path: string): Promise<Response> {
  return withSession(path, {}, TIMEOUT);
}

async function withSession(path: string, init: RequestInit, timeout: number): Promise<Response> {
  const held = secret.value;
  try {
    return await request(path, init, held, timeout);
  } catch (failure) {
    // An answer to the session before this one says nothing about this one.
    if (failure instanceof RequestFailed && failure.status === 401 && held === secret.value) endSession(failure.message);
    throw failure;
  }
}

async function request(path: string, init: RequestInit, bearer: string | null, timeout = TIMEOUT): Promise<Response> {
  const headers = new Headers({ Accept: "application/json" });
  if (typeof init.body === "string") headers.set("Content-Type", "application/json");
  if (bearer) headers.set("Authorization", `Bearer ${bearer}`);
  let response: Response;
  try {
    response = await fetch(path, { ...init, headers, signal: AbortSignal.timeout(timeout) });
  } catch {
    throw new RequestFailed("storkit cannot be reached.", 0);
  }
  if (response.ok) return response;
  const sentence = (await response.text()).trim();
  // A proxy in front may answer with a page of its own.
  const isPlain = sentence !== "" && sentence.length < 500 && !sentence.startsWith("<");
  throw new RequestFailed(isPlain ? sentence : `storkit answered with error ${response.status}.`, response.status);
}
