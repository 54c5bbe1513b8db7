// Checks HTML of the server once more before it becomes elements. Pure.
//
// The server writes this HTML from Markdown of people and agents. Everything beyond these few tags is shown as text, so a fault there
// cannot turn an agent's words into a button of this page.

const TAGS = new Set(
  "p br hr strong em del s b i u code pre blockquote ul ol li h1 h2 h3 h4 h5 h6 table thead tbody tr th td a sup sub span div".split(" "),
);
const TAG = /<(?:(\/?)([a-zA-Z][a-zA-Z0-9]*)((?:\s+[a-zA-Z-]+="[^"<>]*")*)\s*\/?>)?/g;
const ATTRIBUTE = /([a-zA-Z-]+)="([^"<>]*)"/g;
const ADDRESS = /^(?:https?:\/\/|mailto:|matrix:|\/(?!\/))/i;

export function safeHtml(html: string): string {
  return html.replace(TAG, (all: string, slash?: string, tagName?: string, attributes?: string) => {
    const name = tagName?.toLowerCase();
    if (!name || !TAGS.has(name)) return `&lt;${all.slice(1)}`;
    return `<${slash}${demoted(name)}${slash ? "" : kept(name, attributes ?? "")}>`;
  });
}

/** Headings of a text come below those of the page. */
function demoted(name: string): string {
  const level = /^h([1-6])$/.exec(name)?.[1];
  return level ? `h${Math.min(6, Number(level) + 2)}` : name;
}

function kept(name: string, attributes: string): string {
  let out = "";
  for (const [, key, value = ""] of attributes.matchAll(ATTRIBUTE)) {
    if (name === "a" && key === "href" && ADDRESS.test(value)) out += ` href="${value}" rel="noreferrer" target="_blank"`;
    if (name === "ol" && key === "start" && /^\d+$/.test(value)) out += ` start="${value}"`;
    if ((name === "td" || name === "th") && key === "align" && /^\w+$/.test(value)) out += ` align="${value}"`;
  }
  return out;
}
