// The page: takes photos, has them painted by backend.js (on the server or on this device), and shows the avatars.

import * as backend from "./backend.js";
import { openCamera } from "./camera.js";
import { drawAvatar, drawPhoto } from "./compose.js";
import { element, messageOf, save, show } from "./dom.js";
import { checkOptions, finishOptions, paintKey, paintOptions, showStyles, watchOptions } from "./options.js";

const photos = []; // { file, key: options of its painting or null, faces: [layers or { error }], leftOut: faces not painted, error }
let selected = null; // { photo, face: index in photo.faces }
let isPainting = false;

show("note", backend.SHORT_NOTE);
show("privacy", backend.PRIVACY_NOTE);
element("live").hidden = !backend.openLive;
element("copy").hidden = !(navigator.clipboard?.write && window.ClipboardItem);
const ready = backend.open((text) => show("status", text));
ready.then(({ styles, canFollowExample }) => {
  showStyles(styles, canFollowExample);
  if (!photos.length) show("status", "");
}, (error) => show("error", messageOf(error)));

// --- painting: one photo at a time

function add(files) {
  const added = [...files].filter(Boolean).map((file) => ({ file, key: null, faces: [], leftOut: 0, error: "" }));
  if (!added.length) return;
  photos.push(...added);
  show("error", "");
  document.body.classList.add("working");
  selected = { photo: added[0], face: 0 };
  refresh();
  paintNext();
}

// The next photo to paint: the selected one if its options have changed, else one that was never painted.
function nextPhoto() {
  const key = paintKey(paintOptions());
  return selected && selected.photo.key !== key ? selected.photo : photos.find((photo) => photo.key === null);
}

async function paintNext() {
  if (isPainting) return;
  isPainting = true;
  try {
    await ready;
    for (let photo = nextPhoto(); photo; photo = nextPhoto()) await paint(photo);
    show("status", summary());
  } catch (error) {
    show("status", "");
    show("error", messageOf(error));
  } finally {
    isPainting = false;
    element("progress").hidden = true;
  }
}

async function paint(photo) {
  const options = paintOptions();
  const done = photos.filter(({ key }) => key !== null).length;
  const text = photos.length > 1 && photo.key === null ? `Painting ${done + 1} of ${photos.length}…` : "Painting…";
  const progress = element("progress");
  progress.hidden = false;
  if (photos.length > 1) Object.assign(progress, { max: photos.length, value: done });
  else progress.removeAttribute("value");
  show("status", text);
  try {
    Object.assign(photo, await backend.paint(photo.file, options, (message) => show("status", message)), { error: "" });
  } catch (error) {
    Object.assign(photo, { faces: [], error: messageOf(error) });
  }
  photo.key = paintKey(options);
  refresh();
}

const avatars = () => photos.flatMap((photo) => photo.faces.flatMap((face, index) => (face.error ? [] : [{ photo, face: index }])));

function summary() {
  const count = avatars().length;
  const leftOut = photos.reduce((sum, photo) => sum + photo.leftOut, 0);
  const more = leftOut ? ` ${leftOut} more ${leftOut === 1 ? "face was" : "faces were"} not painted.` : "";
  return count ? `${count === 1 ? "Your avatar is" : `${count} avatars are`} ready.${more}` : "";
}

// --- showing photos and avatars

function refresh() {
  const { photo } = selected;
  const faces = photo.faces.map((face, index) => ({ face, index })).filter(({ face }) => !face.error);
  if (faces.length && !faces.some(({ index }) => index === selected.face)) selected.face = faces[0].index;
  element("result").hidden = !avatars().length;
  document.body.classList.toggle("working", avatars().length > 0 || photos.some(({ key }) => key === null));
  const errors = photo.error ? [photo.error] : photo.faces.flatMap((face, index) => (face.error ? [`Face ${index + 1}: ${face.error}.`] : []));
  show("error", photos.length > 1 && errors.length ? `${photo.file.name ?? "Picture"}: ${errors.join(" ")}` : errors.join(" "));
  listAvatars();
  draw();
}

function listAvatars() {
  const entries = photos.flatMap((photo) => (photo.faces.length ? photo.faces.map((layers, face) => ({ photo, face, layers }))
    : [{ photo, face: 0, layers: { error: photo.error } }]));
  element("download-all").hidden = avatars().length < 2;
  element("strip").replaceChildren(...(entries.length > 1 ? entries.map(stripItem) : []));
}

function stripItem({ photo, face, layers }, index) {
  const button = Object.assign(document.createElement("button"), { type: "button" });
  const isReady = layers.before;
  const state = isReady ? "" : photo.key === null ? ", waiting" : ", not painted";
  button.setAttribute("aria-label", `Avatar ${index + 1}: ${photo.file.name ?? "picture"}${state}`);
  button.setAttribute("aria-current", selected.photo === photo && selected.face === face);
  if (isReady) {
    const canvas = document.createElement("canvas");
    drawAvatar(canvas, layers, { ...finishOptions(), size: 120, shape: "square" });
    button.append(canvas);
  } else {
    button.append(photo.key === null ? "…" : "!");
    button.classList.toggle("failed", photo.key !== null);
  }
  button.addEventListener("click", () => {
    selected = { photo, face };
    refresh();
    element("strip").children[index].firstChild.focus();
    paintNext();
  });
  const item = document.createElement("li");
  item.append(button);
  return item;
}

function draw() {
  const layers = selected?.photo.faces[selected.face];
  const isDrawable = Boolean(layers?.before);
  element("preview").classList.toggle("stale", !isDrawable);
  for (const id of ["download", "copy"]) element(id).disabled = !isDrawable;
  if (!isDrawable) return;
  drawAvatar(element("after"), layers, finishOptions());
  drawPhoto(element("before"), layers, finishOptions());
}

element("slider").addEventListener("input", (event) => element("preview").style.setProperty("--split", `${event.target.value}%`));
watchOptions(paintNext, () => { if (selected) { listAvatars(); draw(); } }, (text) => show("error", text));

// --- saving avatars

async function finished({ photo, face }) {
  checkOptions();
  const options = paintOptions();
  if (photo.key !== paintKey(options)) {
    await paint(photo);
    element("progress").hidden = true;
    show("status", summary());
  }
  const ownFile = await backend.finish(photo.file, face + 1, options, finishOptions());
  if (ownFile) return ownFile;
  const canvas = document.createElement("canvas");
  drawAvatar(canvas, photo.faces[face], finishOptions());
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

const nameOf = ({ photo, face }) =>
  `${(photo.file.name ?? "avatar").replace(/\.[^.]*$/, "")}-avatar${photo.faces.length > 1 ? `-${face + 1}` : ""}.png`;

function whileDisabled(id, action) {
  element(id).addEventListener("click", async () => {
    element(id).disabled = true;
    show("error", "");
    try {
      await action();
    } catch (error) {
      show("error", messageOf(error));
    } finally {
      element(id).disabled = false;
    }
  });
}

whileDisabled("download", async () => save(await finished(selected), nameOf(selected)));
whileDisabled("copy", async () => {
  await navigator.clipboard.write([new ClipboardItem({ "image/png": finished(selected) })]);
  show("status", "Copied to the clipboard.");
});
whileDisabled("download-all", async () => {
  for (const avatar of avatars()) save(await finished(avatar), nameOf(avatar));
});

// --- adding photos: chosen, pasted, dropped, or from the camera

element("selfie").addEventListener("change", (event) => { add(event.target.files); event.target.value = ""; });
element("add").addEventListener("click", () => element("selfie").click());
document.addEventListener("paste", (event) => add(event.clipboardData.files));
document.addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("over"); });
document.addEventListener("dragleave", () => document.body.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  add(event.dataTransfer.files);
});
const onPicture = (blob) => add([new File([blob], "camera.jpg", { type: blob.type })]);
const onError = (text) => show("error", text);
document.querySelector(".camera").addEventListener("click", () => openCamera(null, onPicture, onError));
element("live").addEventListener("click", () => openCamera(async () => {
  await ready; // until then, there are no styles to choose from
  return backend.openLive(paintOptions());
}, onPicture, onError));
