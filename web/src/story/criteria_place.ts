// Finds the acceptance criteria in a story's text on screen, so that the page's check boxes stand there and not a second time below.

const TASK = /^\s*\[[ xX]\]\s/;

/** Takes the criteria's list items out of the text. Returns the element in their place; null: the text does not have just these. */
export function takePlace(text: HTMLElement, criteria: number): HTMLElement | null {
  const items = [...text.querySelectorAll("li")].filter((item) => TASK.test(item.textContent ?? ""));
  const first = items[0]?.closest("ul, ol");
  if (!first || items.length !== criteria) return null;
  const place = document.createElement("div");
  first.before(place);
  for (const item of items) {
    const list = item.parentElement;
    item.remove();
    if (list?.childElementCount === 0) list.remove();
  }
  return place;
}
