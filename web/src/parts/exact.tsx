// Text exactly as it will run: hidden characters as marks, in the order in which a program reads them.

import { visiblePieces } from "./visible";

export function Exact({ text }: { text: string }) {
  const pieces = visiblePieces(text);
  if (pieces.every((piece) => !piece.isHidden)) return <bdo dir="ltr">{text}</bdo>;
  return (
    <bdo dir="ltr">
      {pieces.map((piece) => (piece.isHidden ? <mark title="A character that cannot be seen">{piece.text}</mark> : piece.text))}
    </bdo>
  );
}
