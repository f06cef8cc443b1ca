// A worker that paints: the steps of avatar.py with onnxruntime-web. It loads its models once, and nothing afterwards.

import * as ort from "./ort/ort.wasm.min.js";
import * as math from "./image_math.js";

const [MAX_BYTES, MAX_PIXELS, MIN_SIDE, MAX_SIDE, MAX_FACES] = [64e6, 50e6, 16, 2016, 12];
const MASK_SIDE = 256;
const url = (path) => new URL(path, import.meta.url).href;
let config;
let networks;
let detectors;

async function open() {
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = { // the package's names end in .mjs, which a stock nginx serves with the wrong type
    mjs: url("./ort/ort-wasm-simd-threaded.js"),
    wasm: url("./ort/ort-wasm-simd-threaded.wasm"),
  };
  config = await (await download("./model.json")).json();
  networks = {};
  for (const name of config.networks) {
    const bytes = new Uint8Array(await (await download(`./models/${name}.onnx`)).arrayBuffer());
    networks[name] = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  }
  detectors = config.detectors.map((detector) => ({ ...detector, centres: math.anchors(detector.side, detector.anchors) }));
}

async function download(path) {
  const response = await fetch(url(path));
  if (!response.ok) throw new Error(`${path} cannot be loaded: status ${response.status}`);
  return response;
}

async function paint(file) {
  const { picture, alpha } = await decode(file);
  const found = await detect(math.onGrey(picture, alpha));
  if (!found.length) throw new Error(`no face found in the ${picture.width} x ${picture.height} picture`);
  const large = found.filter((face) => math.sideOf(face) >= config.crop.min_relative_size * math.sideOf(found[0]));
  const faces = [];
  for (const face of large.slice(0, MAX_FACES)) {
    try {
      faces.push(await paintCrop(math.cropFace(picture, alpha, face, config.crop)));
    } catch (error) {
      faces.push({ error: error.message });
    }
  }
  if (faces.every((face) => face.error)) throw new Error(faces[0].error);
  return { faces, leftOut: large.length - faces.length };
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
  const picture = math.blank(canvas.width, canvas.height, 3);
  const alpha = math.blank(canvas.width, canvas.height, 1);
  for (let i = 0; i < alpha.data.length; i++) {
    for (let c = 0; c < 3; c++) picture.data[i * 3 + c] = data[i * 4 + c];
    alpha.data[i] = data[i * 4 + 3];
  }
  return { picture, alpha: alpha.data.every((value) => value === 255) ? null : alpha };
}

async function run(name, inputs) {
  const outputs = await networks[name].run(inputs);
  return Object.fromEntries(Object.entries(outputs).map(([key, tensor]) => [key, tensor.data]));
}

async function runDetector(picture, index, minScore) {
  const { name, side, outputs, centres } = detectors[index];
  const letterbox = math.letterbox(picture, side);
  const input = Float32Array.from(letterbox.boxed.data, (value) => value / 127.5 - 1);
  const result = await run(name, { [networks[name].inputNames[0]]: new ort.Tensor("float32", input, [1, side, side, 3]) });
  return math.decodeFaces(result[outputs[0]], result[outputs[1]], centres, side, letterbox, minScore);
}

// The faces of a picture in any orientation, the largest first: FaceDetector.detect_any.
async function detect(picture) {
  let faces = await detectUpright(picture);
  let scoreToBeat = faces.length ? faces[0].score + math.ROTATION_MARGIN : math.MIN_ROTATED_SCORE;
  if (faces.length && faces[0].score < math.SURE_SCORE && (await isUpsideDown(picture, faces[0]))) {
    [faces, scoreToBeat] = [[], config.crop.min_score];
  } else if (faces.length && faces[0].score >= math.CONFIDENT_SCORE) return faces;
  let rotated = picture;
  for (const quarterTurns of [1, 2, 3]) {
    rotated = math.rotateQuarter(rotated);
    const found = await detectUpright(rotated);
    if (found.length && found[0].score > scoreToBeat && !(await isUpsideDown(rotated, found[0]))) {
      faces = found.map((face) => math.rotateBack(face, quarterTurns, rotated));
      scoreToBeat = found[0].score;
    }
  }
  return faces;
}

// Whether the short-range model prefers the levelled close-up of a face after a half turn.
async function isUpsideDown(picture, face) {
  const { side } = detectors[1];
  const view = math.warp(picture, math.similarity(face, side, math.VERIFY_EYE_LINE, math.ORIENTATION_EYE_TO_MOUTH), side, "constant");
  const scores = [];
  for (const variant of [view, math.rotateQuarter(math.rotateQuarter(view))]) {
    const found = await runDetector(variant, 1, math.MIN_ORIENTATION_SCORE);
    scores.push(Math.max(0, ...found.map(({ score }) => score)));
  }
  return scores[1] > scores[0];
}

async function detectUpright(picture) {
  const fullRange = await runDetector(picture, 0, math.MIN_CANDIDATE_SCORE);
  const shortRange = await runDetector(picture, 1, math.MIN_CANDIDATE_SCORE);
  let candidates = math.mergeDetectors(fullRange, shortRange);
  if (!candidates.length) candidates = await detectInViews(picture);
  const faces = [];
  for (const candidate of candidates) {
    const { side } = detectors[1];
    const transform = math.similarity(candidate, side, math.VERIFY_EYE_LINE, math.VERIFY_EYE_TO_MOUTH);
    const results = await runDetector(math.warp(picture, transform, side, "constant"), 1, math.MIN_VERIFY_SCORE);
    const best = results.sort((a, b) => b.score - a.score)[0];
    const face = math.verifyFace(candidate, best, transform, side);
    if (face.score >= config.crop.min_score) faces.push(face);
  }
  return math.dropDuplicates(faces);
}

async function detectInViews(picture) {
  const side = Math.round(Math.min(picture.width, picture.height) * math.VIEW_SIDE);
  const left = (picture.width - side) >> 1;
  for (const top of [0, (picture.height - side) >> 1]) {
    const view = math.cut(picture, left, top, side);
    for (const variant of [view, math.brighten(view)]) {
      const faces = await runDetector(variant, 0, math.MIN_CANDIDATE_SCORE);
      if (faces.length) return faces.map((face) => math.shiftFace(face, left, top));
    }
  }
  return [];
}

async function segment(picture) {
  const small = math.resizeSquare(picture, MASK_SIDE);
  const name = "selfie_segmentation";
  const input = Float32Array.from(small.data, (value) => value / 255);
  const result = await run(name, { [networks[name].inputNames[0]]: new ort.Tensor("float32", input, [1, MASK_SIDE, MASK_SIDE, 3]) });
  let mask = math.toMask(Object.values(result)[0], MASK_SIDE);
  if (networks.person_refiner) {
    const half = MASK_SIDE / 2;
    const tensor = new ort.Tensor("float32", math.foldPixels(small, mask), [1, 16, half, half]);
    const refined = await run("person_refiner", { [networks.person_refiner.inputNames[0]]: tensor });
    mask = math.unfoldLogits(Object.values(refined)[0], MASK_SIDE);
  }
  return math.resize(mask, picture.width, picture.height, "linear");
}

// The person's mask: the picture's own alpha if it is one, else the segmenter's of what the alpha leaves visible.
async function locatePerson({ picture, alpha, inside }) {
  const visible = alpha ? math.visiblePart(picture, alpha, inside) : { picture, inside };
  const segmented = math.keepFaceComponent(await segment(visible.picture), visible.inside, config.crop);
  return alpha && math.alphaIsMask(alpha, segmented, inside) ? alpha : segmented;
}

async function paintCrop(crop) {
  const { picture } = crop;
  const side = config.crop.size_px;
  const mask = await locatePerson(crop);
  const share = mask.data.reduce((sum, value) => sum + value, 0) / mask.data.length / 255;
  if (share < config.mask.min_person) {
    const needed = `at least ${Math.round(config.mask.min_person * 100)}% is needed`;
    throw new Error(`${Math.round(share * 100)}% of the crop is person; ${needed}`);
  }
  const result = await run("generator", {
    pictures: new ort.Tensor("uint8", picture.data, [1, side, side, 3]),
    masks: new ort.Tensor("uint8", mask.data, [1, side, side]),
  });
  const avatar = { ...picture, data: result.painted };
  return { crop: toImageData(picture), avatar: toImageData(avatar), person: toImageData(math.extendPerson(avatar, mask), mask) };
}

function toImageData({ width, height, data }, mask) {
  const pixels = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    pixels.data.set(data.subarray(i * 3, i * 3 + 3), i * 4);
    pixels.data[i * 4 + 3] = mask ? mask.data[i] : 255;
  }
  return pixels;
}

let queue = Promise.resolve(); // one task at a time
self.addEventListener("message", ({ data: { id, task, file } }) => {
  queue = queue
    .then(() => (task === "open" ? open() : paint(file)))
    .then((result) => self.postMessage({ id, result }), (error) => self.postMessage({ id, error: error.message }));
});
