// The frame around every page: who and where, the connection, what is wrong with the project, and the navigation.

import { effect } from "@preact/signals";
import { useEffect } from "preact/hooks";

import type { Page } from "./address";
import { failure } from "./live/link";
import { secret } from "./live/session";
import { linkToken } from "./pages/login_token";
import { NothingPage } from "./pages/nothing";
import { NowPage } from "./pages/now";
import { QuestionPage } from "./pages/question";
import { lazy, loadTheRest } from "./parts/lazy";
import { Loading } from "./parts/reading";
import { dismissAnsweredOnLeaving } from "./question/answered";
import { page } from "./route";
import { Bars } from "./shell/bars";
import { Header } from "./shell/header";
import { isHelpOpen } from "./shell/help";
import { Nav } from "./shell/nav";
import { NewQuestions } from "./shell/new_questions";
import { Toast } from "./shell/toast";
import { project, showCountInTitle } from "./store/store";

const KeysHelp = lazy(() => import("./shell/keys_help").then((module) => module.KeysHelp));
const BoardPage = lazy(() => import("./pages/board").then((module) => module.BoardPage));
const LoginPage = lazy(() => import("./pages/login").then((module) => module.LoginPage));
const ArchivePage = lazy(() => import("./pages/rest").then((module) => module.ArchivePage));
const CostPage = lazy(() => import("./pages/rest").then((module) => module.CostPage));
const MePage = lazy(() => import("./pages/rest").then((module) => module.MePage));
const ChatPage = lazy(() => import("./pages/chat").then((module) => module.ChatPage));
const RunPage = lazy(() => import("./pages/run").then((module) => module.RunPage));

/** Begins to fetch what the address needs, while the board is fetched. A failure shows when it is drawn. */
export function fetchFirstPage(): void {
  const name = page.value.page;
  const first = name === "run" ? RunPage : name === "board" || name === "story" ? BoardPage : null;
  first?.fetch().catch(() => undefined);
}

export function App() {
  useEffect(() => {
    showCountInTitle(() => titleOf(page.value));
    // Not beside what the first page waits for.
    let isLoaded = false;
    let stopKeys = () => {};
    const stop = effect(() => {
      if (!project.value || isLoaded) return;
      isLoaded = true;
      loadTheRest();
      // Without them the page is only less handy.
      import("./shell/keys").then(
        (keys) => (stopKeys = keys.startKeys()),
        () => undefined,
      );
    });
    dismissAnsweredOnLeaving();
    return () => {
      stop();
      stopKeys();
    };
  }, []);
  if (!secret.value || linkToken.value || page.value.page === "login") return <LoginPage />;
  return (
    <>
      <a class="skip" href="#main">
        Skip to the page
      </a>
      <Header />
      <Nav />
      <main id="main" tabIndex={-1} class={`on-${page.value.page}`}>
        <Bars />
        {project.value ? <Current page={page.value} /> : <Connecting />}
      </main>
      <NewQuestions />
      <Toast />
      {isHelpOpen.value && <KeysHelp />}
    </>
  );
}

function Current({ page: shown }: { page: Page }) {
  switch (shown.page) {
    case "now":
      return <NowPage />;
    case "board":
      return <BoardPage story={null} />;
    case "story":
      return <BoardPage story={shown.id} tab={shown.tab} />;
    case "question":
      return <QuestionPage id={shown.id} />;
    case "run":
      return <RunPage key={shown.id} id={shown.id} />;
    case "chat":
      return <ChatPage room={shown.room} />;
    case "cost":
      return <CostPage />;
    case "me":
      return <MePage />;
    case "archive":
      return <ArchivePage />;
    case "login":
    case "nothing":
      return <NothingPage />;
  }
}

function Connecting() {
  return (
    <>
      <h1>storkit</h1>
      <p class="soft">{failure.value === null ? "Connecting to storkit…" : `${failure.value} Trying again…`}</p>
      {failure.value === null && <Loading />}
    </>
  );
}

function titleOf(shown: Page): string {
  switch (shown.page) {
    case "story":
      return `Story ${shown.id}`;
    case "question":
      return `Question ${shown.id}`;
    case "run":
      return `Run ${shown.id}`;
    case "nothing":
      return "Not found";
    default:
      return shown.page[0]?.toUpperCase() + shown.page.slice(1);
  }
}
