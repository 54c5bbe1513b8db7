// Text that the server has written as HTML. The only place of the page that makes elements from a string.

import { useLayoutEffect, useRef } from "preact/hooks";

import { safeHtml } from "./safe_html";

// The content security policy has `require-trusted-types-for 'script'` and names this policy.
type Policy = { createHTML(html: string): string };
type Factory = { createPolicy(name: string, rules: Policy): Policy };
const trusted = (globalThis as { trustedTypes?: Factory }).trustedTypes;
const policy: Policy = trusted?.createPolicy("storkit", { createHTML: safeHtml }) ?? { createHTML: safeHtml };

/** `onDrawn` is called with the element whenever its content is new. */
export function Html({ html, onDrawn }: { html: string; onDrawn?(element: HTMLElement): void }) {
  const ref = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    if (!ref.current) return;
    ref.current.innerHTML = policy.createHTML(html);
    onDrawn?.(ref.current);
  }, [html]);
  return <div ref={ref} class="text" />;
}
