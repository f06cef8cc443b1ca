// A worker that paints: the steps of avatar.py, with onnxruntime-web. It loads its models once and asks for nothing more.

import * as ort from "./ort/ort.wasm.min.mjs";
import * as maths from "./maths.js";

const [MOST_BYTES, MOST_PIXELS, LEAST_SIDE, MOST_SIDE, MOST_FACES] = [64e6, 50e6, 16, 2016, 12];
const MASK_SIDE = 256;
let told;
let nets;
let detectors;

async function open() {
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;
  told = await (await fetch("./model.json")).json();
  nets = {};
  for (const name of told.nets) {
    const bytes = new Uint8Array(await (await fetch(`./models/${name}.onnx`)).arrayBuffer());
    nets[name] = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  }
  detectors = told.detectors.map((one) => ({ ...one, where: maths.anchors(one.side, one.anchors) }));
}

async function paint(file) {
  const { picture, alpha } = await read(file);
  const found = await find(maths.onGrey(picture, alpha));
  if (!found.length) throw new Error(`no face found in the ${picture.width} x ${picture.height} picture`);
  const large = found.filter((face) => maths.sideOf(face) >= told.crop.large * maths.sideOf(found[0]));
  const faces = [];
  for (const face of large.slice(0, MOST_FACES)) {
    try {
      faces.push(await painted(maths.square(picture, alpha, face, told.crop)));
    } catch (error) {
      faces.push({ fault: error.message });
    }
  }
  if (faces.every((face) => face.fault)) throw new Error(faces[0].fault);
  return { faces, leftOut: large.length - faces.length };
}

async function read(file) {
  if (file.size > MOST_BYTES) throw new Error(`${(file.size / 1e6).toFixed(1)} megabytes; at most ${MOST_BYTES / 1e6} megabytes are read`);
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" }).catch(() => {
    throw new Error("not a picture that this browser opens; JPEG, PNG and WebP are");
  });
  const { width, height } = bitmap;
  if (width * height > MOST_PIXELS) throw new Error(`${width} x ${height} pixels; at most ${MOST_PIXELS / 1e6} megapixels are read`);
  if (Math.min(width, height) < LEAST_SIDE) throw new Error(`${width} x ${height} pixels; each side needs ${LEAST_SIDE}`);
  const scale = Math.min(1, MOST_SIDE / Math.max(width, height));
  const canvas = new OffscreenCanvas(Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale)));
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.imageSmoothingQuality = "high";
  pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  const { data } = pen.getImageData(0, 0, canvas.width, canvas.height);
  const picture = maths.blank(canvas.width, canvas.height, 3);
  const alpha = maths.blank(canvas.width, canvas.height, 1);
  for (let at = 0; at < alpha.data.length; at++) {
    for (let c = 0; c < 3; c++) picture.data[at * 3 + c] = data[at * 4 + c];
    alpha.data[at] = data[at * 4 + 3];
  }
  return { picture, alpha: alpha.data.every((value) => value === 255) ? null : alpha };
}

async function run(name, inputs) {
  const answers = await nets[name].run(inputs);
  return Object.fromEntries(Object.entries(answers).map(([key, tensor]) => [key, tensor.data]));
}

async function look(picture, which, minScore) {
  const { name, side, outputs, where } = detectors[which];
  const boxed = maths.letterboxed(picture, side);
  const seen = Float32Array.from(boxed.boxed.data, (value) => value / 127.5 - 1);
  const said = await run(name, { [nets[name].inputNames[0]]: new ort.Tensor("float32", seen, [1, side, side, 3]) });
  return maths.faces(said[outputs[0]], said[outputs[1]], where, side, boxed, minScore);
}

async function find(picture) {
  let first = await look(picture, 0, maths.FIRST);
  if (!first.length) first = await look(picture, 1, maths.FIRST);
  if (!first.length) first = await closer(picture);
  const sure = [];
  for (const face of first) {
    const { side } = detectors[1];
    const there = maths.similarity(face, side, maths.SECOND_EYE_LINE, maths.SECOND_EYE_TO_MOUTH);
    const seen = await look(maths.warped(picture, there, side, "constant"), 1, maths.AT_ALL);
    const best = seen.sort((one, other) => other.score - one.score)[0];
    const again = maths.again(face, best, there, side);
    if (again.score >= told.crop.min_score) sure.push(again);
  }
  return maths.apart(sure);
}

async function closer(picture) {
  const side = Math.round(Math.min(picture.width, picture.height) * maths.CLOSER);
  const left = (picture.width - side) >> 1;
  for (const top of [0, (picture.height - side) >> 1]) {
    const view = maths.cut(picture, left, top, side);
    for (const seen of [view, maths.brighter(view)]) {
      const faces = await look(seen, 0, maths.FIRST);
      if (faces.length) return faces.map((face) => maths.shifted(face, left, top));
    }
  }
  return [];
}

async function segmented(picture) {
  const seen = maths.sized(picture, MASK_SIDE);
  const name = "selfie_segmentation";
  const input = Float32Array.from(seen.data, (value) => value / 255);
  const said = await run(name, { [nets[name].inputNames[0]]: new ort.Tensor("float32", input, [1, MASK_SIDE, MASK_SIDE, 3]) });
  let mask = maths.asBytes(Object.values(said)[0], MASK_SIDE);
  if (nets.person_refiner) {
    const half = MASK_SIDE / 2;
    const tensor = new ort.Tensor("float32", maths.folded(seen, mask), [1, 16, half, half]);
    const refined = await run("person_refiner", { [nets.person_refiner.inputNames[0]]: tensor });
    mask = maths.unfolded(Object.values(refined)[0], MASK_SIDE);
  }
  return maths.resized(mask, picture.width, picture.height, "linear");
}

async function painted({ picture, alpha, inside }) {
  const side = told.crop.size_px;
  const mask = alpha ?? maths.underFace(await segmented(picture), inside, told.crop);
  const share = mask.data.reduce((sum, value) => sum + value, 0) / mask.data.length / 255;
  if (share < told.mask.min_person) {
    throw new Error(`${Math.round(share * 100)}% of the crop is person, ${Math.round(told.mask.min_person * 100)}% needed`);
  }
  const said = await run("generator", {
    pictures: new ort.Tensor("uint8", picture.data, [1, side, side, 3]),
    masks: new ort.Tensor("uint8", mask.data, [1, side, side]),
  });
  const made = { ...picture, data: said.painted };
  return { before: shown(picture), painted: shown(made), person: shown(maths.person(made, mask), mask) };
}

function shown({ width, height, data }, mask) {
  const pixels = new ImageData(width, height);
  for (let at = 0; at < width * height; at++) {
    pixels.data.set(data.subarray(at * 3, at * 3 + 3), at * 4);
    pixels.data[at * 4 + 3] = mask ? mask.data[at] : 255;
  }
  return pixels;
}

let before = Promise.resolve();
self.addEventListener("message", ({ data: { number, what, told: file } }) => {
  before = before
    .then(() => (what === "open" ? open() : paint(file)))
    .then((made) => self.postMessage({ number, made }), (error) => self.postMessage({ number, fault: error.message }));
});
