// The form with the options: style, background, shape and size.

import { element } from "./dom.js";

const checked = (name) => document.querySelector(`[name=${name}]:checked`);
let background = { file: null, image: null }; // the visitor's background picture
let example = null; // the file of the portrait whose style is used

// The options of painting. If one of them changes, the photo must be painted again.
export function paintOptions() {
  const { value } = checked("style");
  return {
    style: value === "like" ? document.querySelector("[name=style]").value : value,
    like: value === "like" ? example : null,
    strength: Number(element("strength").value) / 100,
    keepColours: element("keep-colours").checked,
    align: element("align").checked,
  };
}

export const paintKey = ({ like, ...others }) => JSON.stringify([like && [like.name, like.size, like.lastModified], others]);

// The options that the page applies to a painting without painting again.
export function finishOptions() {
  const { value } = checked("background");
  return {
    background: value === "colour" ? element("colour").value : value,
    backgroundFile: background.file,
    backgroundImage: background.image,
    shape: checked("shape").value,
    size: Number(checked("size").value),
  };
}

export function checkOptions() {
  if (checked("background").value === "picture" && !background.image) throw new Error("Choose a background picture first.");
}

// Shows a card for each style of the model, [{ name, preview }]. `canFollowExample` adds a card to choose a portrait. When one is
// chosen, it gets its own card. The file input is not part of the radio buttons, so that arrow keys do not open a file dialog.
export function showStyles(styles, canFollowExample) {
  const box = element("styles");
  for (const { name, preview } of styles) {
    const image = Object.assign(document.createElement("img"), { src: preview, alt: "", width: 74, height: 74 });
    box.append(card(name, [image], name));
  }
  box.querySelector("input").checked = true;
  if (!canFollowExample) return;
  const file = Object.assign(document.createElement("input"), { type: "file", id: "like", accept: "image/*", ariaLabel: "A portrait to paint like" });
  const plus = Object.assign(document.createElement("span"), { className: "plus", textContent: "+" });
  const [chooser, text] = [document.createElement("label"), document.createElement("span")];
  text.textContent = "Like mine";
  chooser.title = "Paint me like a portrait of my own";
  chooser.append(file, plus, text);
  const thumbnail = Object.assign(document.createElement("span"), { className: "plus" });
  const chosen = card("like", [thumbnail], "Like mine");
  file.addEventListener("change", () => {
    if (!file.files[0]) return;
    example = file.files[0];
    thumbnail.style.backgroundImage = `url(${URL.createObjectURL(example)})`;
    text.textContent = "Another";
    if (!chosen.isConnected) chooser.before(chosen);
    chosen.querySelector("input").checked = true;
  });
  box.querySelector("label").after(chooser);
}

function card(value, children, text) {
  const input = Object.assign(document.createElement("input"), { type: "radio", name: "style", value });
  const label = document.createElement("label");
  label.append(input, ...children, text);
  return label;
}

// Calls `onPaint` when photos have to be painted again, and `onDraw` when only the drawing of a painting changes.
export function watchOptions(onPaint, onDraw, onError) {
  const form = element("options");
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", (event) => {
    if (event.target.closest("#style-panel") || event.target.id === "align") onPaint();
  });
  form.addEventListener("input", (event) => {
    element("strength").nextElementSibling.textContent = `${element("strength").value} %`;
    if (event.target.id === "colour") document.querySelector("[name=background][value=colour]").checked = true;
    onDraw();
  });
  element("background-file").addEventListener("change", async (event) => {
    const [file] = event.target.files;
    if (!file) return;
    try {
      background = { file, image: await createImageBitmap(file) };
      document.querySelector("[value=picture]").checked = true;
      onDraw();
    } catch {
      onError("The background picture cannot be opened.");
    }
  });
  for (const tab of document.querySelectorAll("#tabs button")) {
    tab.addEventListener("click", () => {
      for (const other of document.querySelectorAll("#tabs button")) {
        const isOpen = other === tab;
        other.setAttribute("aria-expanded", isOpen);
        element(other.getAttribute("aria-controls")).classList.toggle("open", isOpen);
      }
    });
  }
}
