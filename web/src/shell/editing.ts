// Whether the person is in the middle of writing something that a reload would lose.

export function isEditing(): boolean {
  const fields = document.querySelectorAll<HTMLTextAreaElement | HTMLInputElement>("form textarea, form input[type=text]");
  return [...fields].some((field) => field.value.trim() !== "" && field.dataset.kept === undefined);
}
