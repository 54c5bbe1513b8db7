// Whether the person is in the middle of writing something that a reload would lose.

export function isEditing(): boolean {
  const fields = document.querySelectorAll<HTMLTextAreaElement | HTMLInputElement>("form textarea, form input[type=text]");
  // A browser keeps no chosen file over a reload.
  if (document.querySelector(".chosen-files li")) return true;
  return [...fields].some((field) => field.value.trim() !== "" && field.dataset.kept === undefined);
}
