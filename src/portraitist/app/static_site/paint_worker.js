// The web worker that paints photos and video frames on this device.

import { openFace, paintFace, personMask } from "./avatar.js";
import * as math from "./image_math.js";
import { LivePainter } from "./live_painter.js";
import { canFollowExample, config, detect, generate, open, predictStyle } from "./networks.js";

const [MAX_BYTES, MAX_PIXELS, MIN_SIDE, MAX_SIDE, MAX_FACES] = [64e6, 50e6, 16, 2016, 12];
const CACHED_PHOTOS = 8;
const openPhotos = new Map(); // id -> photo and its faces, so that another style needs no second detection

// Paints the faces of a photo; with `only`, an index, only this face.
async function paint({ id, file, options, size, only }) {
  if (!openPhotos.has(id)) openPhotos.set(id, await openPhoto(file));
  if (openPhotos.size > CACHED_PHOTOS) openPhotos.delete(openPhotos.keys().next().value);
  const { photo, opened, leftOut } = openPhotos.get(id);
  const style = await readStyle(options);
  const faces = [];
  for (const [index, face] of opened.entries()) {
    if (only !== undefined && index !== only) {
      faces.push(null);
      continue;
    }
    faces.push(face.error ? face : await toBitmaps(await paintFace(photo, face, options, style, size)));
  }
  return { faces, leftOut };
}

async function toBitmaps(layers) {
  const entries = Object.entries(layers).map(async ([name, { picture, mask }]) =>
    [name, await createImageBitmap(math.toImageData(picture, mask))]);
  return Object.fromEntries(await Promise.all(entries));
}

let example = {}; // the last portrait whose style was used, and this style

// Returns the style of the model that has the name `style`, or the style of the portrait `like`.
async function readStyle({ style, like }) {
  if (!like) return config.styles.find(({ name }) => name === style);
  const key = [like.name, like.size, like.lastModified].join();
  if (example.key !== key) {
    const { picture, mask } = await examplePerson(like).catch((error) => { throw new Error(`the portrait to paint like: ${error.message}`); });
    example = { key, style: await predictStyle(picture, mask) };
  }
  return example.style;
}

// Returns crop and mask of an example's face; if it has no usable face, those of the square in its middle.
async function examplePerson(file) {
  const { picture, alpha } = await decode(file);
  const [face] = await detect(math.onGrey(picture, alpha));
  if (face) {
    try {
      const crop = math.cropFace(picture, alpha, face, config.crop);
      math.checkCrop(crop, config.crop);
      return { picture: crop.picture, mask: await personMask(crop) };
    } catch { /* the face is not usable */ }
  }
  const side = Math.min(picture.width, picture.height);
  const middle = (plane) => math.cut(plane, (picture.width - side) >> 1, (picture.height - side) >> 1, side);
  return { picture: middle(picture), mask: middle(alpha ?? math.blank(picture.width, picture.height, 1, 255)) };
}

async function openPhoto(file) {
  const photo = await decode(file);
  const { width, height } = photo.picture;
  const found = await detect(math.onGrey(photo.picture, photo.alpha));
  if (!found.length) throw new Error(`no face found in the ${width} x ${height} picture`);
  const large = found.filter((face) => math.sideOf(face) >= config.crop.min_relative_size * math.sideOf(found[0]));
  const opened = [];
  for (const face of large.slice(0, MAX_FACES)) {
    const others = found.filter((other) => other !== face);
    opened.push(await openFace(photo, face, others).catch((error) => ({ error: error.message })));
  }
  if (opened.every(({ error }) => error)) throw new Error(opened[0].error);
  return { photo, opened, leftOut: large.length - opened.length };
}

async function decode(file) {
  if (file.size > MAX_BYTES) throw new Error(`the file has ${(file.size / 1e6).toFixed(1)} megabytes; at most ${MAX_BYTES / 1e6} are allowed`);
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" }).catch(() => {
    throw new Error("not a picture that this browser can open; try JPEG, PNG or WebP");
  });
  const { width, height } = bitmap;
  if (width * height > MAX_PIXELS) throw new Error(`${width} x ${height} pixels; at most ${MAX_PIXELS / 1e6} megapixels are read`);
  if (Math.min(width, height) < MIN_SIDE) throw new Error(`${width} x ${height} pixels; each side must have at least ${MIN_SIDE}`);
  const scale = Math.min(1, MAX_SIDE / Math.max(width, height));
  const canvas = new OffscreenCanvas(Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale)));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  const { picture, alpha } = math.fromRgba(data, canvas.width, canvas.height);
  alpha?.data.forEach((value, i) => { if (value === 0) picture.data.fill(255, 3 * i, 3 * i + 3); }); // as read_selfie does
  return { picture, alpha };
}

let live = null;
const TASKS = {
  open: async ({ useGpu }) => {
    await open(useGpu);
    const { size_px: side } = config.crop;
    if (useGpu) await generate(math.blank(side, side, 3), math.blank(side, side, 1), config.styles[0]); // if WebGPU does not work, this throws an error
    return { styles: config.styles, canFollowExample: canFollowExample() };
  },
  paint,
  live: async ({ bitmap, time, options }) => {
    live ??= new LivePainter(options, await readStyle(options));
    return live.paint(bitmap, time);
  },
  stop: async () => { live = null; },
};

let queue = Promise.resolve(); // one task at a time
self.addEventListener("message", ({ data: { id, task, values } }) => {
  queue = queue
    .then(() => TASKS[task](values))
    .then((result) => self.postMessage({ id, result }), (error) => self.postMessage({ id, error: error.message }));
});
