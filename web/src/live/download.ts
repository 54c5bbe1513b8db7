// Saves something that the page has read as a file of the device.

export function download(content: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  // The browser may read it only after this returns.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
