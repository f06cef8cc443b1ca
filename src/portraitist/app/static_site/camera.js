// The camera's dialog: takes a picture. On the static site, it can also show the camera's picture painted live.

import { element, messageOf, show } from "./dom.js";

const dialog = element("viewfinder");
const video = element("video");
const canvas = element("painted-video");
element("close-camera").addEventListener("click", () => dialog.close());

// Opens the dialog; when the visitor takes a picture, passes it to `onPicture` as a JPEG blob. `openLive`, if not null,
// returns a painter of video frames: { backend: its name, paint(bitmap, time) -> ImageBitmap or null without a face, close() }.
export async function openCamera(openLive, onPicture, onError) {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user", width: openLive ? 640 : 1280 } });
  } catch {
    onError("No camera was found, or access to it was denied.");
    return;
  }
  video.srcObject = stream;
  video.classList.toggle("inset", Boolean(openLive)); // small instead of hidden: a hidden video has no frames
  canvas.hidden = !openLive;
  show("shutter", openLive ? "Keep this picture" : "Take the picture");
  show("frame-rate", openLive ? "Loading the model…" : "");
  dialog.showModal();
  element("shutter").onclick = () => {
    if (!video.videoWidth) return; // there is no frame yet
    const photo = Object.assign(document.createElement("canvas"), { width: video.videoWidth, height: video.videoHeight });
    photo.getContext("2d").drawImage(video, 0, 0);
    photo.toBlob((blob) => { dialog.close(); onPicture(blob); }, "image/jpeg", 0.95);
  };
  dialog.addEventListener("close", () => {
    for (const track of stream.getTracks()) track.stop();
    video.srcObject = null;
  }, { once: true });
  const isOpen = () => video.srcObject === stream; // not if the dialog was closed, and perhaps opened again
  if (openLive) await paintFrames(openLive, isOpen).catch((error) => { dialog.close(); onError(messageOf(error)); });
}

async function paintFrames(openLive, isOpen) {
  const painter = await openLive();
  const times = []; // when the frames of the last two seconds were painted, in milliseconds
  let reported = 0;
  try {
    while (isOpen()) {
      const frame = await createImageBitmap(video).catch(() => null); // null: there is no frame yet
      if (!frame) {
        await new Promise((resolve) => setTimeout(resolve, 20));
        continue;
      }
      const painted = await painter.paint(frame, performance.now());
      if (!isOpen()) break;
      const now = performance.now();
      times.push(now);
      while (times[0] < now - 2000) times.shift();
      if (painted) {
        Object.assign(canvas, { width: painted.width, height: painted.height });
        canvas.getContext("2d").drawImage(painted, 0, 0);
        canvas.dataset.frames = Number(canvas.dataset.frames ?? 0) + 1;
        painted.close();
      }
      if (now > reported + 500) {
        reported = now;
        const rate = times.length > 1 ? (1000 * (times.length - 1)) / (now - times[0]) : 0;
        show("frame-rate", painted ? `${rate.toFixed(0)} pictures per second, ${painter.backend}` : "No face in the picture");
      }
    }
  } finally {
    painter.close();
  }
}
