// The page: a selfie in, an avatar out. Who paints is backend.js's matter: the server, or this very device.

import { PLACE, finish, open, paint } from "./backend.js";

const at = (id) => document.getElementById(id);
const faultOf = (error) => (error instanceof Error ? error.message : String(error));
let file = null;
let faces = [];
let chosen = 0;
let behind = null;
let asked = 0;

at("where").textContent = PLACE;
const ready = open((text) => { at("status").textContent = text; });
ready.then(() => { if (!asked) at("status").textContent = ""; }, (error) => { at("fault").textContent = faultOf(error); });

async function take(picture) {
  if (!picture) return;
  const mine = ++asked;
  file = picture;
  at("fault").textContent = "";
  at("result").hidden = true;
  at("status").textContent = "Painting…";
  try {
    await ready;
    const made = await paint(picture, (text) => { if (mine === asked) at("status").textContent = text; });
    if (mine !== asked) return; // a newer selfie came meanwhile
    faces = made.faces;
    chosen = faces.findIndex((face) => !face.fault);
    const left = made.leftOut ? ` ${made.leftOut} more faces were left out.` : "";
    const faults = faces.flatMap((face, place) => (face.fault ? [`Face ${place + 1}: ${face.fault}.`] : []));
    at("status").textContent = [`${faces.length - faults.length} painted.${left}`, ...faults].join(" ");
    list();
    at("result").hidden = false;
    await draw();
  } catch (error) {
    if (mine !== asked) return;
    at("status").textContent = "";
    at("fault").textContent = faultOf(error);
  }
}

function list() {
  const box = at("faces");
  box.hidden = faces.length < 2;
  box.replaceChildren(box.querySelector("legend"));
  for (const [place, face] of faces.entries()) {
    if (face.fault) continue;
    const label = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type: "radio", name: "face", value: place });
    input.checked = place === chosen;
    input.addEventListener("change", () => { chosen = place; draw(); });
    const small = Object.assign(document.createElement("canvas"), { width: 64, height: 64 });
    small.getContext("2d").drawImage(face.before, 0, 0, 64, 64);
    label.append(input, small, ` face ${place + 1}`);
    box.append(label);
  }
}

export function look() {
  const kind = document.querySelector("[name=background]:checked").value;
  return {
    background: kind === "colour" ? at("colour").value : kind,
    shape: document.querySelector("[name=shape]:checked").value,
    size: Number(at("size").value) || null,
    file: at("behind").files[0],
    behind,
  };
}

async function draw() {
  const face = faces[chosen];
  if (!face) return;
  const wanted = look();
  const size = wanted.size ?? face.before.width;
  for (const id of ["before", "after"]) Object.assign(at(id), { width: size, height: size });
  dress(at("after"), face, wanted);
  const pen = at("before").getContext("2d");
  pen.imageSmoothingQuality = "high";
  pen.drawImage(face.before, 0, 0, size, size);
  slide();
}

// The avatar's look on a canvas, as look.py has it.
function dress(canvas, face, wanted) {
  const pen = canvas.getContext("2d");
  const size = canvas.width;
  pen.imageSmoothingQuality = "high";
  if (wanted.shape === "circle") {
    pen.beginPath();
    pen.arc(size / 2, size / 2, size / 2, 0, 2 * Math.PI);
    pen.clip();
  }
  if (wanted.background === "keep") return void pen.drawImage(face.painted, 0, 0, size, size);
  if (wanted.background.startsWith("#")) {
    pen.fillStyle = wanted.background;
    pen.fillRect(0, 0, size, size);
  } else if (wanted.background === "picture" && wanted.behind) {
    const { width, height } = wanted.behind;
    const side = Math.min(width, height);
    pen.drawImage(wanted.behind, (width - side) / 2, (height - side) / 2, side, side, 0, 0, size, size);
  }
  pen.drawImage(face.person, 0, 0, size, size);
}

function slide() {
  at("before").style.clipPath = `inset(0 ${100 - at("slider").value}% 0 0)`;
}

async function download() {
  at("download").disabled = true;
  try {
    const wanted = look();
    if (wanted.background === "picture" && !wanted.behind) throw new Error("Choose the picture to set behind first.");
    const blob = (await finish(file, chosen + 1, wanted)) ?? (await drawn());
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: "avatar.png" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    at("fault").textContent = "";
  } catch (error) {
    at("fault").textContent = faultOf(error);
  } finally {
    at("download").disabled = false;
  }
}

const drawn = () => new Promise((done) => at("after").toBlob(done, "image/png"));

at("selfie").addEventListener("change", (event) => { take(event.target.files[0]); event.target.value = ""; });
at("look").addEventListener("input", draw);
at("look").addEventListener("submit", (event) => event.preventDefault());
at("colour").addEventListener("input", () => { document.querySelector("[value=colour]").checked = true; });
at("behind").addEventListener("change", async (event) => {
  try {
    behind = event.target.files[0] ? await createImageBitmap(event.target.files[0]) : null;
    document.querySelector("[value=picture]").checked = true;
    await draw();
  } catch {
    at("fault").textContent = "The picture to set behind does not open.";
  }
});
at("slider").addEventListener("input", slide);
at("download").addEventListener("click", download);

document.addEventListener("paste", (event) => take([...event.clipboardData.files][0]));
document.addEventListener("dragover", (event) => { event.preventDefault(); at("drop").classList.add("over"); });
document.addEventListener("dragleave", () => at("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  at("drop").classList.remove("over");
  take(event.dataTransfer.files[0]);
});

const closed = () => {
  for (const track of at("video").srcObject?.getTracks() ?? []) track.stop();
  at("video").srcObject = null;
};
at("camera").addEventListener("click", async () => {
  try {
    at("video").srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user", width: 1280 } });
    at("viewfinder").showModal();
  } catch {
    at("fault").textContent = "There is no camera, or it was not allowed.";
  }
});
at("viewfinder").addEventListener("close", closed);
at("stop").addEventListener("click", () => at("viewfinder").close());
at("shoot").addEventListener("click", () => {
  const video = at("video");
  const canvas = Object.assign(document.createElement("canvas"), { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((blob) => { at("viewfinder").close(); take(blob); }, "image/jpeg", 0.95);
});
