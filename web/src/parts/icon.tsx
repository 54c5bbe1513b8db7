// The few icons of the page, drawn inline so that they take no request and the colour of the text.

const SHAPES = {
  now: "M12 3a9 9 0 1 0 9 9M12 7v5l3 2M16 4l2 2 4-4",
  board: "M4 4h4v16H4zM10 4h4v10h-4zM16 4h4v13h-4z",
  chat: "M4 5h16v11H9l-5 4z",
  cost: "M12 3v18M16 7c-1-2-8-2-8 1.500s8 2.500 8 6-7 4-8.500 1.500",
  search: "M10.500 4a6.500 6.500 0 1 0 0 13 6.500 6.500 0 0 0 0-13zM15.500 15.500 21 21",
  back: "M14 5l-7 7 7 7",
  clip: "M20 11l-8 8a5 5 0 0 1-7-7l8-8a3.300 3.300 0 0 1 5 5l-8 8a1.700 1.700 0 0 1-2.500-2.500l7-7",
  close: "M6 6l12 12M18 6 6 18",
} as const;

export function Icon({ name }: { name: keyof typeof SHAPES }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
      <path d={SHAPES[name]} />
    </svg>
  );
}
