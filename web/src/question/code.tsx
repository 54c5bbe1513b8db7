// What a tool call would run or write: whole and wrapped, as a diff where it is one.

import { Exact } from "../parts/exact";

export function Code({ text, language }: { text: string; language: string }) {
  if (language === "diff") return <DiffText text={text} />;
  return (
    <pre class="exact">
      <code>
        <Exact text={text} />
      </code>
    </pre>
  );
}

/** The signs stay: they are how the change is told apart without colours. */
function DiffText({ text }: { text: string }) {
  return (
    <div class="diff-text">
      {text.split("\n").map((line, at) => (
        <div key={at} class={kindOf(line)}>
          <Exact text={line || " "} />
        </div>
      ))}
    </div>
  );
}

function kindOf(line: string): string {
  if (line.startsWith("@@")) return "line head";
  if (line.startsWith("+")) return "line added";
  return line.startsWith("-") ? "line removed" : "line";
}
