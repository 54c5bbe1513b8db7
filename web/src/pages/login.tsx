// Signing in: by the one-time link that storkit sent, or by a code to type.

import { useSignal } from "@preact/signals";

import { secret, signIn } from "../live/session";
import { Press } from "../parts/press";
import { go, page } from "../route";
import { me, state } from "../store/store";
import { linkToken } from "./login_token";
import "../styles/login.css";

export function LoginPage() {
  const { ended } = state.value;
  return (
    <main class="login" tabIndex={-1}>
      <h1>storkit</h1>
      {ended !== null && <p class="bar warn">{ended}</p>}
      {linkToken.value ? <ByLink token={linkToken.value} /> : <ByCode />}
      {!linkToken.value && <HowToGetIn />}
    </main>
  );
}

function ByLink({ token }: { token: string }) {
  const failure = useSignal<string | null>(null);
  const isBusy = useSignal(false);
  const isSignedIn = secret.value !== null;
  const confirm = async () => {
    isBusy.value = true;
    failure.value = await signInWith({ token });
    isBusy.value = false;
    if (failure.value !== null) return;
    linkToken.value = null;
    if (page.value.page === "login") go("/", "replace");
  };
  const done = () => (linkToken.value = null);
  if (failure.value !== null) {
    return (
      <>
        <p role="alert" class="bar danger">{failure.value}</p>
        <Press onPress={done}>{isSignedIn ? "Stay signed in as before" : "Use a code"}</Press>
      </>
    );
  }
  return (
    <>
      <h2>Sign in on this device?</h2>
      <p>
        {isSignedIn && `You are signed in${me.value ? ` as ${me.value.name}` : ""}; the link takes the place of that session. `}
        Everybody who uses this browser can then do what you may do. The link works once.
      </p>
      <div class="row">
        <Press kind="primary" onPress={() => void confirm()} why={isBusy.value ? "Signing in…" : null}>
          {isBusy.value ? "Signing in…" : "Sign in"}
        </Press>
        <Press onPress={done}>{isSignedIn ? "Stay as I am" : "Not here"}</Press>
      </div>
    </>
  );
}

function ByCode() {
  const code = useSignal("");
  const failure = useSignal<string | null>(null);
  const isBusy = useSignal(false);
  const submit = async () => {
    const letters = code.value.toUpperCase().replace(/[^A-Z0-9]/g, "");
    if (letters.length !== 8) return void (failure.value = "A code has 8 letters.");
    isBusy.value = true;
    failure.value = await signInWith({ code: letters });
    isBusy.value = false;
    if (failure.value === null && page.value.page === "login") go("/", "replace");
  };
  return (
    <form
      class="form"
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      <label>
        Code
        <input
          class="code"
          type="text"
          name="code"
          autocomplete="one-time-code"
          autocapitalize="characters"
          spellcheck={false}
          maxLength={12}
          placeholder="ABCD EFGH"
          value={code.value}
          onInput={(event) => (code.value = event.currentTarget.value)}
          aria-describedby="code-failure"
        />
      </label>
      <p id="code-failure" role="alert" class="failure">
        {failure.value}
      </p>
      <button class="press primary" type="submit" aria-disabled={isBusy.value}>
        {isBusy.value ? "Signing in…" : "Sign in"}
      </button>
    </form>
  );
}

function HowToGetIn() {
  return (
    <section>
      <h2>How to get a link or a code</h2>
      <ul>
        <li>
          Write <code>web</code> to storkit in a direct message, in Slack, Matrix or WhatsApp.
        </li>
        <li>
          Or run <code>storkit web</code> in a terminal on its machine.
        </li>
      </ul>
      <p class="soft">Both come in one answer, and work once, for 10 minutes. Type the code if you added this page to your home screen.</p>
    </section>
  );
}

/** Why it failed, as a sentence. */
async function signInWith(proof: { token: string } | { code: string }): Promise<string | null> {
  try {
    await signIn(proof);
    return null;
  } catch (failure) {
    return failure instanceof Error ? failure.message : String(failure);
  }
}
