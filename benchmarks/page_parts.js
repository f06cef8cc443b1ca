// A worker that runs parts of the static site's painting, for page.py: { part, rounds } in, milliseconds of wall time out.

import { openFace, paintFace } from "./avatar.js";
import * as math from "./image_math.js";
import { LivePainter } from "./live_painter.js";
import * as networks from "./networks.js";

const OPTIONS = { style: "house", like: null, strength: 1, keepColours: false, align: false };
const state = {};

async function open({ file }) {
  await networks.open(false);
  const bitmap = await createImageBitmap(file);
  const [width, height] = [bitmap.width / 2, bitmap.height / 2]; // as paint_worker.js reduces a photo of 12 megapixels
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.drawImage(bitmap, 0, 0, width, height);
  const { picture } = math.fromRgba(context.getImageData(0, 0, width, height).data, width, height);
  const style = networks.config.styles[0];
  const [face] = await networks.detect(picture);
  Object.assign(state, { bitmap, photo: { picture, alpha: null }, face, style });
  state.opened = await openFace(state.photo, face, []);
  state.live = new LivePainter(OPTIONS, style);
  state.square = math.toSide(picture, 256);
}

const generateAt = (side) => () => {
  const square = math.toSide(state.square, side);
  return networks.generate(square, math.blank(side, side, 1, 255), state.style);
};

const PARTS = {
  reference: () => { let sum = 0; for (let i = 1; i < 2e7; i++) sum += 1 / i; return sum; }, // to compare machines
  "detect the faces": () => networks.detect(state.photo.picture),
  "segment the person": () => openFace(state.photo, state.face, []),
  "paint and finish, 512 px": () => paintFace(state.photo, state.opened, OPTIONS, state.style, 512),
  "generator, 512 px": generateAt(512),
  "generator, 256 px": generateAt(256),
  "generator, 192 px": generateAt(192),
  "generator, 160 px": generateAt(160),
  "generator, 128 px": generateAt(128),
  "live: mask": () => networks.segment(state.square, false),
  "live: track the face": async () => {
    const { transform, side } = networks.closeUp(state.face);
    await networks.verify(state.face, state.live.view(state.bitmap, transform, side));
  },
};

let queue = Promise.resolve();
self.addEventListener("message", ({ data: { id, part, rounds, values } }) => {
  queue = queue.then(async () => {
    const start = performance.now();
    if (part === "open") await open(values);
    else for (let round = 0; round < rounds; round++) await PARTS[part]();
    self.postMessage({ id, result: (performance.now() - start) / (rounds ?? 1), parts: Object.keys(PARTS) });
  }).catch((error) => self.postMessage({ id, error: String(error) }));
});
