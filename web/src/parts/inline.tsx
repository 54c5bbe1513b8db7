// A line of Markdown by storkit in which only code and emphasis mean something.

import { Exact } from "./exact";

const PART = /(`+)(.+?)\1|\*\*(.+?)\*\*|\\([!-/:-@[-`{-~])/gs;

export function Inline({ markdown }: { markdown: string }) {
  const parts = [];
  let from = 0;
  for (const match of markdown.matchAll(PART)) {
    const [all, , code, strong, escaped] = match;
    parts.push(<Exact text={markdown.slice(from, match.index)} />);
    if (code !== undefined) parts.push(<code><Exact text={code.trim()} /></code>);
    else if (strong !== undefined) parts.push(<strong><Exact text={strong} /></strong>);
    else parts.push(escaped);
    from = match.index + all.length;
  }
  return <>{parts}<Exact text={markdown.slice(from)} /></>;
}
