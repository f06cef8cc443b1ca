// The page: selfie in, avatar out. backend.js paints, on the server or on this device.

import { PRIVACY_NOTE, finish, open, paint } from "./backend.js";

const element = (id) => document.getElementById(id);
const show = (id, text) => { element(id).textContent = text; };
const messageOf = (error) => (error instanceof Error ? error.message : String(error));
let selfie = null;
let faces = [];
let selected = 0;
let backgroundImage = null;
let requests = 0;

show("note", PRIVACY_NOTE);
const ready = open((text) => show("status", text));
ready.then(() => { if (!requests) show("status", ""); }, (error) => show("error", messageOf(error)));

async function load(file) {
  if (!file) return;
  const request = ++requests;
  selfie = file;
  show("error", "");
  element("result").hidden = true;
  show("status", "Painting…");
  try {
    await ready;
    const result = await paint(file, (text) => { if (request === requests) show("status", text); });
    if (request !== requests) return; // a newer selfie was chosen meanwhile
    faces = result.faces;
    selected = faces.findIndex((face) => !face.error);
    show("status", summary(result));
    listFaces();
    element("result").hidden = false;
    await draw();
  } catch (error) {
    if (request !== requests) return;
    show("status", "");
    show("error", messageOf(error));
  }
}

function summary({ faces, leftOut }) {
  const errors = faces.flatMap((face, index) => (face.error ? [`Face ${index + 1}: ${face.error}.`] : []));
  const count = faces.length - errors.length;
  const more = leftOut ? [`${leftOut} more ${leftOut === 1 ? "face was" : "faces were"} not painted.`] : [];
  return [`${count} ${count === 1 ? "avatar" : "avatars"}.`, ...more, ...errors].join(" ");
}

function listFaces() {
  const box = element("faces");
  box.hidden = faces.length < 2;
  box.replaceChildren(box.querySelector("legend"));
  for (const [index, face] of faces.entries()) {
    if (face.error) continue;
    const label = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type: "radio", name: "face", value: index });
    input.checked = index === selected;
    input.addEventListener("change", () => { selected = index; draw(); });
    const thumbnail = Object.assign(document.createElement("canvas"), { width: 64, height: 64 });
    thumbnail.getContext("2d").drawImage(face.crop, 0, 0, 64, 64);
    label.append(input, thumbnail, ` face ${index + 1}`);
    box.append(label);
  }
}

function readOptions() {
  const background = document.querySelector("[name=background]:checked").value;
  return {
    background: background === "colour" ? element("colour").value : background,
    shape: document.querySelector("[name=shape]:checked").value,
    size: Number(element("size").value) || null,
    backgroundFile: element("background-file").files[0],
    backgroundImage,
  };
}

async function draw() {
  const face = faces[selected];
  if (!face) return;
  const options = readOptions();
  const size = options.size ?? face.crop.width;
  for (const id of ["before", "after"]) Object.assign(element(id), { width: size, height: size });
  drawAvatar(element("after"), face, options);
  const context = element("before").getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(face.crop, 0, 0, size, size);
  updateSlider();
}

// The counterpart of compositing.apply_finish.
function drawAvatar(canvas, face, options) {
  const context = canvas.getContext("2d");
  const size = canvas.width;
  context.imageSmoothingQuality = "high";
  if (options.shape === "circle") {
    context.beginPath();
    context.arc(size / 2, size / 2, size / 2, 0, 2 * Math.PI);
    context.clip();
  }
  if (options.background === "keep") return void context.drawImage(face.avatar, 0, 0, size, size);
  if (options.background.startsWith("#")) {
    context.fillStyle = options.background;
    context.fillRect(0, 0, size, size);
  } else if (options.background === "picture" && options.backgroundImage) {
    const { width, height } = options.backgroundImage;
    const side = Math.min(width, height);
    context.drawImage(options.backgroundImage, (width - side) / 2, (height - side) / 2, side, side, 0, 0, size, size);
  }
  context.drawImage(face.person, 0, 0, size, size);
}

function updateSlider() {
  element("before").style.clipPath = `inset(0 ${100 - element("slider").value}% 0 0)`;
}

async function download() {
  element("download").disabled = true;
  try {
    const options = readOptions();
    if (options.background === "picture" && !options.backgroundImage) throw new Error("Choose a background picture first.");
    const blob = (await finish(selfie, selected + 1, options)) ?? (await canvasBlob());
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: "avatar.png" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    show("error", "");
  } catch (error) {
    show("error", messageOf(error));
  } finally {
    element("download").disabled = false;
  }
}

const canvasBlob = () => new Promise((resolve) => element("after").toBlob(resolve, "image/png"));

element("selfie").addEventListener("change", (event) => { load(event.target.files[0]); event.target.value = ""; });
element("options").addEventListener("input", draw);
element("options").addEventListener("submit", (event) => event.preventDefault());
element("colour").addEventListener("input", () => { document.querySelector("[value=colour]").checked = true; });
element("background-file").addEventListener("change", async (event) => {
  try {
    backgroundImage = event.target.files[0] ? await createImageBitmap(event.target.files[0]) : null;
    document.querySelector("[value=picture]").checked = true;
    await draw();
  } catch {
    show("error", "The background picture cannot be opened.");
  }
});
element("slider").addEventListener("input", updateSlider);
element("download").addEventListener("click", download);

document.addEventListener("paste", (event) => load([...event.clipboardData.files][0]));
document.addEventListener("dragover", (event) => { event.preventDefault(); element("drop").classList.add("over"); });
document.addEventListener("dragleave", () => element("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  element("drop").classList.remove("over");
  load(event.dataTransfer.files[0]);
});

element("camera").addEventListener("click", async () => {
  try {
    element("video").srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user", width: 1280 } });
    element("viewfinder").showModal();
  } catch {
    show("error", "No camera was found, or access to it was denied.");
  }
});
element("viewfinder").addEventListener("close", () => {
  for (const track of element("video").srcObject?.getTracks() ?? []) track.stop();
  element("video").srcObject = null;
});
element("close-camera").addEventListener("click", () => element("viewfinder").close());
element("shutter").addEventListener("click", () => {
  const video = element("video");
  const canvas = Object.assign(document.createElement("canvas"), { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((blob) => { element("viewfinder").close(); load(blob); }, "image/jpeg", 0.95);
});
