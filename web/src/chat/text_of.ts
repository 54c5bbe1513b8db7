// The beginning of a message as plain text, for the line that says what a reply is about. Pure.

const MOST = 80;

export function textOf(html: string): string {
  const text = html
    .replace(/<[^>]*>/g, " ")
    .replace(/&lt;/g, "<")
    .replace(/&gt;/g, ">")
    .replace(/&quot;/g, '"')
    .replace(/&#0?39;|&apos;/g, "'")
    .replace(/&amp;/g, "&")
    .replace(/\s+/g, " ")
    .trim();
  return text.length > MOST ? `${text.slice(0, MOST - 1)}…` : text;
}
