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
  const top = topHeading(html);
  return html.replace(TAG, (all: string, slash?: string, tagName?: string, attributes?: string) => {
    const name = tagName?.toLowerCase();
    if (!name || !TAGS.has(name)) return `&lt;${all.slice(1)}`;
    return `<${slash}${demoted(name, top)}${slash ? "" : kept(name, attributes ?? "")}>`;
  });
}

/** The level of the highest heading in the text. */
function topHeading(html: string): number {
  return Math.min(6, ...[...html.matchAll(/<h([1-6])>/gi)].map((match) => Number(match[1])));
}

/** Headings of a text come below those of the page, and begin with the third level, wherever the text begins. */
function demoted(name: string, top: number): string {
  const level = /^h([1-6])$/.exec(name)?.[1];
  return level ? `h${Math.min(6, Number(level) - top + 3)}` : name;
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
