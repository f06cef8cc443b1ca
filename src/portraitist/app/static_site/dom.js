// Small helpers for the page's elements.

export const element = (id) => document.getElementById(id);
export const show = (id, text) => { element(id).textContent = text; };
export const messageOf = (error) => (error instanceof Error ? error.message : String(error));

// A failure after which a new attempt may succeed.
export class TemporaryError extends Error {}

export function save(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
