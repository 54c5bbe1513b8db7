// Text that the server has written as HTML. The only place of the page that makes elements from a string.

import { useLayoutEffect, useRef } from "preact/hooks";

import { safeHtml } from "./safe_html";

// The content security policy has `require-trusted-types-for 'script'` and names this policy.
type Policy = { createHTML(html: string): string };
type Factory = { createPolicy(name: string, rules: Policy): Policy };
const trusted = (globalThis as { trustedTypes?: Factory }).trustedTypes;
const policy: Policy = trusted?.createPolicy("storkit", { createHTML: safeHtml }) ?? { createHTML: safeHtml };

export function Html({ html, class: name = "" }: { html: string; class?: string }) {
  const ref = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    if (ref.current) ref.current.innerHTML = policy.createHTML(html);
  }, [html]);
  return <div ref={ref} class={`text ${name}`} />;
}
