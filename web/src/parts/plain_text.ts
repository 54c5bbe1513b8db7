// HTML of the server as plain text. Pure; never for making elements.

const BEGINNING = 80;

export function plainText(html: string): string {
  return html
    .replace(/<[^>]*>/g, " ")
    .replace(/&lt;/g, "<")
    .replace(/&gt;/g, ">")
    .replace(/&quot;/g, '"')
    .replace(/&#0?39;|&apos;/g, "'")
    .replace(/&amp;/g, "&")
    .replace(/\s+/g, " ")
    .trim();
}

/** For the line that says what a reply is about. */
export function beginningOf(html: string): string {
  const text = plainText(html);
  return text.length > BEGINNING ? `${text.slice(0, BEGINNING - 1)}…` : text;
}

/** Without a first heading that only repeats the title above it. */
export function withoutTitle(html: string, title: string): string {
  const first = /^\s*<h1>(.*?)<\/h1>/s.exec(html);
  return first && plainText(first[1] ?? "") === title.trim() ? html.slice(first[0].length) : html;
}
