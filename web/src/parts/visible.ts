// Characters that the eye would miss: they could hide a part of a command, or show it in another order. Pure.

/**
 * Controls, formats, blanks that are none, unassigned and private characters; and marks that cover their neighbours: a third one on a
 * letter, or one that sits on none. Line breaks, tabs and plain spaces are as they look.
 */
const HIDDEN =
  /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cs}\p{Cn}\p{DI}\u2800]|(?! )\p{Zs}|(?<=\p{M}\p{M})\p{M}|(?<![\p{L}\p{N}\p{M}])\p{M}/gu;
const PLAIN = new Set(["\n", "\t"]);

export type Piece = { text: string; isHidden: boolean };

/** The text in pieces; a hidden one has the character's number as its text. */
export function visiblePieces(text: string): Piece[] {
  const pieces: Piece[] = [];
  let from = 0;
  for (const match of text.matchAll(HIDDEN)) {
    if (PLAIN.has(match[0])) continue;
    if (match.index > from) pieces.push({ text: text.slice(from, match.index), isHidden: false });
    pieces.push({ text: codePoint(match[0]), isHidden: true });
    from = match.index + match[0].length;
  }
  if (from < text.length) pieces.push({ text: text.slice(from), isHidden: false });
  return pieces;
}

export function hasHidden(text: string): boolean {
  return visiblePieces(text).some((piece) => piece.isHidden);
}

function codePoint(character: string): string {
  return `U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}`;
}
