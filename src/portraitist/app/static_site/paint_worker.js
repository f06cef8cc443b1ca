// A worker that paints photos and video frames: the steps of avatar.py and video.py on this device.

import * as math from "./image_math.js";
import { LivePainter } from "./live_painter.js";
import { canFollowExample, config, detect, generate, locatePerson, open, predictStyle } from "./networks.js";

const [MAX_BYTES, MAX_PIXELS, MIN_SIDE, MAX_SIDE, MAX_FACES] = [64e6, 50e6, 16, 2016, 12];
const CACHED_PHOTOS = 8;
const cropsByPhoto = new Map(); // the faces of the last photos, so that another style needs no detection

async function paint({ id, file, options }) {
  if (!cropsByPhoto.has(id)) cropsByPhoto.set(id, await cropFaces(file));
  if (cropsByPhoto.size > CACHED_PHOTOS) cropsByPhoto.delete(cropsByPhoto.keys().next().value);
  const { crops, leftOut } = cropsByPhoto.get(id);
  const vector = await styleVector(options);
  return { faces: await Promise.all(crops.map((crop) => (crop.error ? crop : paintCrop(crop, options, vector)))), leftOut };
}

let example = {}; // the last portrait to paint like, and its style vector

async function styleVector({ style, like }) {
  if (!like) return config.styles.find(({ name }) => name === style)?.vector;
  const key = [like.name, like.size, like.lastModified].join();
  if (example.key !== key) {
    const { picture, mask } = await examplePerson(like);
    example = { key, vector: await predictStyle(picture, mask) };
  }
  return example.vector;
}

// Crop and mask of an example's face, or the middle of the picture if it has no usable face.
async function examplePerson(file) {
  const { picture, alpha } = await decode(file);
  try {
    const crop = (await cropPictures(picture, alpha)).crops.find(({ error }) => !error);
    if (crop) return crop;
  } catch { /* no face */ }
  const side = Math.min(picture.width, picture.height);
  const middle = (plane) => math.cut(plane, (picture.width - side) >> 1, (picture.height - side) >> 1, side);
  return { picture: middle(picture), mask: middle(alpha ?? math.blank(picture.width, picture.height, 1, 255)) };
}

async function cropFaces(file) {
  const { picture, alpha } = await decode(file);
  return cropPictures(picture, alpha);
}

async function cropPictures(picture, alpha) {
  const found = await detect(math.onGrey(picture, alpha));
  if (!found.length) throw new Error(`no face found in the ${picture.width} x ${picture.height} picture`);
  const large = found.filter((face) => math.sideOf(face) >= config.crop.min_relative_size * math.sideOf(found[0]));
  const crops = [];
  for (const face of large.slice(0, MAX_FACES)) {
    try {
      const crop = math.cropFace(picture, alpha, face, config.crop);
      crops.push({ ...crop, mask: checkMask(await locatePerson(crop)) });
    } catch (error) {
      crops.push({ error: error.message });
    }
  }
  if (crops.every(({ error }) => error)) throw new Error(crops[0].error);
  return { crops, leftOut: large.length - crops.length };
}

async function decode(file) {
  if (file.size > MAX_BYTES) throw new Error(`the file has ${(file.size / 1e6).toFixed(1)} megabytes; at most ${MAX_BYTES / 1e6} are allowed`);
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" }).catch(() => {
    throw new Error("not a picture that this browser can open; try JPEG, PNG or WebP");
  });
  const { width, height } = bitmap;
  if (width * height > MAX_PIXELS) throw new Error(`${width} x ${height} pixels; at most ${MAX_PIXELS / 1e6} megapixels are read`);
  if (Math.min(width, height) < MIN_SIDE) throw new Error(`${width} x ${height} pixels; each side needs ${MIN_SIDE}`);
  const scale = Math.min(1, MAX_SIDE / Math.max(width, height));
  const canvas = new OffscreenCanvas(Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale)));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  const picture = math.fromRgba(data, canvas.width, canvas.height);
  const alpha = math.blank(canvas.width, canvas.height, 1);
  for (let i = 0; i < alpha.data.length; i++) alpha.data[i] = data[i * 4 + 3];
  return { picture, alpha: alpha.data.every((value) => value === 255) ? null : alpha };
}

function checkMask(mask) {
  const share = mask.data.reduce((sum, value) => sum + value, 0) / mask.data.length / 255;
  if (share >= config.mask.min_person) return mask;
  const needed = `at least ${Math.round(config.mask.min_person * 100)}% is needed`;
  throw new Error(`${Math.round(share * 100)}% of the crop is person; ${needed}`);
}

// The layers of `compose.js`.
async function paintCrop({ picture, mask }, options, vector) {
  const painted = math.finishStyle(await generate(picture, mask, vector), picture, mask, options);
  return {
    before: await toBitmap(picture),
    keep: await toBitmap(painted),
    transparent: await toBitmap(math.extendPerson(painted, mask), mask),
  };
}

const toBitmap = (picture, mask) => createImageBitmap(math.toImageData(picture, mask));

let live = null;
const TASKS = {
  open: async ({ useGpu }) => {
    await open(useGpu);
    const { size_px: side } = config.crop;
    if (useGpu) await generate(math.blank(side, side, 3), math.blank(side, side, 1), config.styles[0].vector); // fails here, if at all
    return { styles: config.styles, canFollowExample: canFollowExample() };
  },
  paint,
  live: async ({ bitmap, time, options }) => {
    live ??= new LivePainter(options, await styleVector(options));
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
