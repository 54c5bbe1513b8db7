// This person: who storkit takes them for, their sessions, and the look of the page.

import { signOut } from "../live/session";
import { THEMES, theme } from "../live/theme";
import { useView } from "../live/view";
import { Acts } from "../parts/acts";
import { Press } from "../parts/press";
import { Ago, At } from "../parts/time";
import { me } from "../store/store";
import type { Me, SessionView } from "../wire";

const THEME_NAME: Record<(typeof THEMES)[number], string> = { device: "As the device", light: "Light", dark: "Dark" };

export function MePage() {
  // The sessions change while the page is open: someone may sign in elsewhere.
  const reading = useView<Me>("/api/me");
  const known = reading.view ?? me.value;
  if (!known) return null;
  return (
    <div class="narrow me">
      <h1>{known.name}</h1>
      <dl class="facts">
        <div>
          <dt>Known as</dt>
          <dd>
            <code>{known.who}</code>
          </dd>
        </div>
        <div>
          <dt>Role</dt>
          <dd>{known.role}</dd>
        </div>
      </dl>
      <section aria-labelledby="look">
        <h2 id="look">Colours</h2>
        <div class="segments" role="group" aria-labelledby="look">
          {THEMES.map((one) => (
            <button key={one} type="button" aria-pressed={theme.value === one} onClick={() => (theme.value = one)}>
              {THEME_NAME[one]}
            </button>
          ))}
        </div>
      </section>
      <section aria-labelledby="sessions">
        <h2 id="sessions">Where you are signed in</h2>
        <ul class="sessions">
          {known.sessions.map((session) => (
            <Session key={session.number} session={session} onRevoked={reading.again} />
          ))}
        </ul>
        <Press kind="danger" onPress={() => void signOut()}>
          Sign out here
        </Press>
      </section>
    </div>
  );
}

function Session({ session, onRevoked }: { session: SessionView; onRevoked(): void }) {
  return (
    <li class="card session">
      <p>
        <strong>{session.browser}</strong> {session.this_one && <span class="stage-chip">this one</span>}
      </p>
      <p class="soft">
        Signed in <At at={session.created} /> · used <Ago at={session.used} after=" ago" />
      </p>
      {!session.this_one && (
        <Acts
          onAnswered={onRevoked}
          acts={[
            {
              label: "Sign it out…",
              say: `web revoke ${session.number}`,
              role: "user",
              ask: { title: "Sign this browser out?", text: <p>{session.browser}</p>, confirm: "Sign it out" },
            },
          ]}
        />
      )}
    </li>
  );
}
