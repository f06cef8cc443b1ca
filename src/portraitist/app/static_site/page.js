// The page: takes photos, has them painted by backend.js (on the server or on this device), and shows the avatars.

import * as backend from "./backend.js";
import { openCamera } from "./camera.js";
import { drawAvatar, drawPhoto } from "./compose.js";
import { element, messageOf, save, show, TemporaryError } from "./dom.js";
import { checkOptions, finishOptions, paintKey, paintOptions, showStyles, watchOptions } from "./options.js";

// { file, faces: [layers or { error }], key: options with which they were painted, tried: options of the last attempt or null,
// leftOut: faces not painted, error: why the last attempt failed or "", canRetry: whether a new attempt may succeed }
const photos = [];
let selected = null; // { photo, face: index in photo.faces, isChosen: whether the visitor clicked it }
let isPainting = false;

show("note", backend.SHORT_NOTE);
show("privacy", backend.PRIVACY_NOTE);
for (const button of document.querySelectorAll(".live")) button.hidden = !backend.openLive;
element("copy").hidden = !(navigator.clipboard?.write && window.ClipboardItem);

let opening = null; // null before the first attempt to open the backend, and after one that failed
function openBackend() {
  opening ??= backend.open((text) => show("status", text)).then(
    ({ styles, canFollowExample }) => showStyles(styles, canFollowExample),
    (error) => { opening = null; throw error; },
  ).finally(() => show("status", ""));
  return opening;
}

function showProblem(text, canRetry = false) {
  show("error", text);
  element("retry").hidden = !canRetry;
}

// Without a value, the bar shows that the page works, but not how much is done.
function showProgress(value, max) {
  const progress = element("progress");
  progress.hidden = false;
  if (value === undefined) progress.removeAttribute("value");
  else Object.assign(progress, { max, value });
}

// --- painting: one photo at a time

function add(files) {
  const added = [...files].filter(Boolean).map((file) => ({ file, faces: [], key: null, tried: null, leftOut: 0, error: "", canRetry: false }));
  if (!added.length) return;
  const canBePainted = ({ faces, error, canRetry, tried }) => faces.length || !error || canRetry || tried !== paintKey(paintOptions());
  const kept = photos.filter(canBePainted); // the others fail with these options
  photos.splice(0, Infinity, ...kept, ...added);
  selected = { photo: added[0], face: 0 };
  refresh();
  paintNext();
}

// The next photo to paint: the selected one if its options have changed, else one that was never tried.
function nextPhoto() {
  const key = paintKey(paintOptions());
  return selected && selected.photo.tried !== key ? selected.photo : photos.find(({ tried }) => tried === null);
}

async function paintNext() {
  if (isPainting) return;
  isPainting = true;
  showProgress();
  try {
    await openBackend();
    for (let photo = nextPhoto(); photo; photo = nextPhoto()) await paint(photo);
    show("status", summary());
  } catch (error) { // the backend cannot be opened
    show("status", "");
    document.body.classList.toggle("working", avatars().length > 0);
    showProblem(messageOf(error), true);
  } finally {
    isPainting = false;
    element("progress").hidden = true;
  }
}

let lastPainting = Promise.resolve();
function paint(photo) { // one photo at a time, so that the last painting has the last options
  lastPainting = lastPainting.catch(() => {}).then(() => paintNow(photo));
  return lastPainting;
}

async function paintNow(photo) {
  const options = paintOptions();
  const key = paintKey(options);
  if (photo.key === key) { // the options are those of its faces again
    Object.assign(photo, { tried: key, error: "", canRetry: false });
    refresh();
    return;
  }
  const done = photos.filter(({ tried }) => tried !== null).length;
  const isOneOfMany = photos.length > 1 && photo.tried === null;
  const text = isOneOfMany ? `Painting ${done + 1} of ${photos.length}…` : "Painting…";
  if (isOneOfMany) showProgress(done, photos.length);
  else showProgress();
  show("status", text);
  try {
    Object.assign(photo, await backend.paint(photo.file, options, (message) => show("status", message ?? text)), { key, error: "", canRetry: false });
  } catch (error) { // the faces of an earlier painting are kept
    Object.assign(photo, { error: messageOf(error), canRetry: error instanceof TemporaryError });
  }
  photo.tried = key;
  if (!selected.isChosen && selected.photo.tried !== null && !selected.photo.faces.length) selected = avatars()[0] ?? selected;
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
  document.body.classList.toggle("working", avatars().length > 0 || photos.some(({ tried }) => tried === null));
  const failed = [photo, ...photos.filter((other) => other !== photo)].filter(({ error }) => error); // the selected one first
  const messages = failed.slice(0, 3).map((each) => (photos.length > 1 ? `${each.file.name ?? "Picture"}: ${each.error}` : each.error));
  if (failed.length > 3) messages.push(`${failed.length - 3} more could not be painted.`);
  const named = photos.length > 1 ? `${photo.file.name ?? "Picture"}: ` : "";
  const rejected = photo.faces.flatMap((face, index) => (face.error ? [`Face ${index + 1}: ${face.error}.`] : []));
  if (!photo.error && rejected.length) messages.unshift(named + rejected.join(" "));
  showProblem(messages.join("\n"), failed.some(({ canRetry }) => canRetry));
  listAvatars();
  draw();
}

function listAvatars() {
  const entries = photos.flatMap((photo) => (photo.faces.length ? photo.faces.map((layers, face) => ({ photo, face, layers }))
    : [{ photo, face: 0, layers: { error: photo.error } }]));
  element("download-all").hidden = avatars().length < 2;
  const strip = element("strip");
  const focused = [...strip.children].find((item) => item.contains(document.activeElement))?.avatar;
  strip.replaceChildren(...(entries.length > 1 ? entries.map(stripItem) : []));
  const item = focused && [...strip.children].find(({ avatar }) => avatar.photo === focused.photo && avatar.face === focused.face);
  item?.firstChild.focus({ preventScroll: true });
}

function stripItem({ photo, face, layers }, index) {
  const button = Object.assign(document.createElement("button"), { type: "button" });
  const isReady = layers.before;
  const isWaiting = photo.tried === null;
  const state = isReady ? "" : isWaiting ? ", waiting" : ", not painted";
  button.setAttribute("aria-label", `Avatar ${index + 1}: ${photo.file.name ?? "picture"}${state}`);
  button.setAttribute("aria-current", selected.photo === photo && selected.face === face);
  if (isReady) {
    const canvas = document.createElement("canvas");
    drawAvatar(canvas, layers, { ...finishOptions(), size: 120, shape: "square" });
    button.append(canvas);
  } else {
    button.append(isWaiting ? "…" : "!");
    button.classList.toggle("failed", !isWaiting);
  }
  button.addEventListener("click", () => {
    selected = { photo, face, isChosen: true };
    refresh();
    paintNext();
  });
  const item = Object.assign(document.createElement("li"), { avatar: { photo, face } });
  item.append(button);
  return item;
}

function draw() {
  const layers = selected.photo.faces[selected.face];
  const isDrawable = Boolean(layers?.before);
  const hasFailed = !isDrawable && selected.photo.tried !== null;
  element("preview").classList.toggle("stale", !isDrawable); // until the photo is painted, the last avatar is shown, pale
  for (const id of ["download", "copy"]) element(id).disabled = !isDrawable || busy.has(id);
  for (const id of ["after", "before"]) element(id).hidden = hasFailed;
  if (!isDrawable) return;
  drawAvatar(element("after"), layers, finishOptions());
  drawPhoto(element("before"), layers, finishOptions());
}

element("slider").addEventListener("input", (event) => element("preview").style.setProperty("--split", `${event.target.value}%`));
watchOptions(paintNext, () => { if (selected) { listAvatars(); draw(); } }, showProblem);

// --- saving avatars

async function finished({ photo, face }) {
  checkOptions();
  while (photo.key !== paintKey(paintOptions())) {
    await paint(photo);
    if (photo.error) throw new Error(photo.error);
  }
  const options = paintOptions();
  const onProgress = (message) => show("status", message ?? PREPARING);
  const ownFile = await backend.finish(photo.file, face + 1, options, finishOptions(), onProgress);
  if (ownFile) return ownFile;
  const canvas = document.createElement("canvas");
  drawAvatar(canvas, photo.faces[face], finishOptions());
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

const nameOf = ({ photo, face }) =>
  `${(photo.file.name ?? "avatar").replace(/\.[^.]*$/, "")}-avatar${photo.faces.length > 1 ? `-${face + 1}` : ""}.png`;

const PREPARING = "Preparing the file…";
const busy = new Set(); // ids of the buttons whose action has not finished

// Runs an action when a button is pressed. The button is disabled during the action. The action returns a message, or nothing.
function onPress(id, action) {
  element(id).addEventListener("click", async () => {
    busy.add(id);
    element(id).disabled = true;
    showProblem("");
    const waiting = setTimeout(() => { showProgress(); show("status", PREPARING); }, 300);
    let [message, failure] = ["", ""];
    try {
      message = await action();
    } catch (error) {
      failure = messageOf(error);
    }
    clearTimeout(waiting);
    busy.delete(id);
    element(id).disabled = false;
    refresh(); // shows the errors of photos again
    const others = element("error").textContent;
    if (!others.includes(failure)) showProblem(`${failure}\n${others}`.trim(), photos.some(({ canRetry }) => canRetry));
    if (isPainting) return;
    element("progress").hidden = true;
    show("status", message || summary());
  });
}

async function saveOne(avatar) {
  save(await finished(avatar), nameOf(avatar));
}

onPress("download", () => saveOne(selected));
onPress("copy", async () => {
  await navigator.clipboard.write([new ClipboardItem({ "image/png": finished(selected) })]);
  return "Copied to the clipboard.";
});
onPress("download-all", async () => {
  let failure = null; // the first one; the other avatars are saved in spite of it
  for (const avatar of avatars()) {
    await saveOne(avatar).catch((error) => { failure ??= new Error(`${nameOf(avatar)}: ${messageOf(error)}`); });
  }
  if (failure) throw failure;
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
element("retry").addEventListener("click", () => {
  for (const photo of photos) if (photo.canRetry) Object.assign(photo, { tried: null, error: "", canRetry: false });
  if (selected) refresh();
  else showProblem("");
  paintNext();
});
const onPicture = (blob) => add([new File([blob], "camera.jpg", { type: blob.type })]);
for (const button of document.querySelectorAll(".camera")) {
  button.addEventListener("click", () => openCamera(null, onPicture, showProblem));
}
for (const button of document.querySelectorAll(".live")) {
  button.addEventListener("click", () => openCamera(async () => {
    await openBackend(); // until then, there are no styles to choose from
    return backend.openLive(paintOptions());
  }, onPicture, showProblem));
}

add(element("selfie").files); // chosen before this script was loaded
element("selfie").value = "";
if (!photos.length) {
  paintNext().then(() => { // opens the backend
    if (!photos.length && opening) backend.warmUp?.(paintOptions()).catch(() => {}); // without it, only the first photo takes longer
  });
}
