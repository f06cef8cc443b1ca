// Runs the networks of the static site in onnxruntime-web: face detectors, segmenter, generator and style predictor.
// The counterpart of portraitist.crop and portraitist.mask. All files are downloaded at the start, none later, so that
// the page works offline. The generator for examples is opened when a portrait is first used as an example.

import * as math from "./image_math.js";

const [MASK_SIDE, STYLE_SIDE] = [256, 256];
const EXAMPLE_GENERATOR = "example_generator";
const url = (path) => new URL(path, import.meta.url).href;
let ort;
let networks;
let openExampleGenerator; // opens the generator for examples; null if the model has none, or if it is open
let detectors;
export let config;

// Loads the models. With `useGpu`, generator and segmenter run on WebGPU, except for nodes that WebGPU does not support;
// the face detectors run in WebAssembly. Throws an error if WebGPU is not available.
export async function open(useGpu) {
  ort = await import(useGpu ? "./ort/ort.webgpu.min.js" : "./ort/ort.wasm.min.js");
  const runtime = useGpu ? "ort-wasm-simd-threaded.asyncify" : "ort-wasm-simd-threaded";
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
  ort.env.wasm.wasmPaths = { // in the npm package, they end in .mjs, which nginx's default configuration serves with the wrong type
    mjs: url(`./ort/${runtime}.js`),
    wasm: url(`./ort/${runtime}.wasm`),
  };
  config = await (await download("./model.json")).json();
  networks = {};
  openExampleGenerator = null;
  for (const name of config.networks) {
    const bytes = new Uint8Array(await (await download(`./models/${name}.onnx`)).arrayBuffer());
    const gpu = { name: "webgpu", ...(config.cpu_nodes[name]?.length && { forceCpuNodeNames: config.cpu_nodes[name] }) };
    const providers = useGpu && !name.startsWith("face_") ? [gpu] : ["wasm"]; // not [gpu, "wasm"], with which a missing WebGPU would cause no error
    const create = () => ort.InferenceSession.create(bytes, { executionProviders: providers });
    if (name === EXAMPLE_GENERATOR) openExampleGenerator = create;
    else networks[name] = await create();
  }
  detectors = config.detectors.map((detector) => ({ ...detector, centres: math.anchors(detector.side, detector.anchors) }));
}

async function download(path) {
  const response = await fetch(url(path)).catch(() => { throw new Error("The model cannot be loaded. Is the network connected?"); });
  if (!response.ok) throw new Error(`The model cannot be loaded: ${path} has status ${response.status}.`);
  return response;
}

async function run(name, inputs) {
  const outputs = await networks[name].run(inputs);
  return Object.fromEntries(Object.entries(outputs).map(([key, tensor]) => [key, tensor.data]));
}

// --- face detection

const detectorInput = (boxed) => math.mapBytes(Float32Array, boxed.data, (value) => value / 127.5 - 1);

async function runDetector(picture, index, minScore) {
  const letterbox = math.letterbox(picture, detectors[index].side);
  return decodeDetector(index, letterbox.boxed, letterbox, minScore);
}

async function decodeDetector(index, boxed, letterbox, minScore) {
  const { name, side, outputs, centres } = detectors[index];
  const input = new ort.Tensor("float32", detectorInput(boxed), [1, side, side, 3]);
  const result = await run(name, { [networks[name].inputNames[0]]: input });
  return math.decodeFaces(result[outputs[0]], result[outputs[1]], centres, side, letterbox, minScore);
}

// Returns the faces of a picture in any orientation, largest first, as FaceDetector.detect_any does.
export async function detect(picture) {
  const { width, height } = picture;
  const factor = Math.max(1, Math.floor(Math.max(width, height) / math.MIN_REDUCED));
  const small = math.resize(picture, Math.max(1, Math.floor(width / factor)), Math.max(1, Math.floor(height / factor)), "area");
  return (await detectAny(small)).map((face) => math.scaleFace(face, width / small.width, height / small.height));
}

async function detectAny(picture) {
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

// Returns whether the short-range model gives the levelled close-up of a face a higher score after a half turn.
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

export async function detectUpright(picture) {
  const fullRange = await runDetector(picture, 0, math.MIN_CANDIDATE_SCORE);
  const shortRange = await runDetector(picture, 1, math.MIN_CANDIDATE_SCORE);
  let candidates = math.mergeDetectors(fullRange, shortRange);
  if (!candidates.length) candidates = await detectInViews(picture);
  const faces = [];
  for (const candidate of candidates) {
    const { transform, side } = closeUp(candidate);
    const face = await verify(candidate, math.warp(picture, transform, side, "constant"));
    if (face.score >= config.crop.min_score) faces.push(face);
  }
  return math.dropDuplicates(faces);
}

// Returns the transform from a picture to the close-up in which the short-range model verifies a face, and its side.
export function closeUp(face) {
  const { side } = detectors[1];
  return { side, transform: math.similarity(face, side, math.VERIFY_EYE_LINE, math.VERIFY_EYE_TO_MOUTH) };
}

// Returns a face with the landmarks and the score of the best detection in its close-up, `view`.
export async function verify(face, view) {
  const { transform, side } = closeUp(face);
  const results = await decodeDetector(1, view, { scale: 1, left: 0, top: 0 }, math.MIN_VERIFY_SCORE);
  return math.verifyFace(face, results.sort((a, b) => b.score - a.score)[0], transform, side);
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

// --- segmentation

// Returns the probability of a person as a mask, 0 to 255. Without `refine`, only the first network runs, as video needs it.
export async function segment(picture, refine = true) {
  const small = math.toSide(picture, MASK_SIDE, "cubic");
  const name = "selfie_segmentation";
  const input = math.mapBytes(Float32Array, small.data, (value) => value / 255);
  const result = await run(name, { [networks[name].inputNames[0]]: new ort.Tensor("float32", input, [1, MASK_SIDE, MASK_SIDE, 3]) });
  let mask = math.toMask(Object.values(result)[0], MASK_SIDE);
  if (refine && networks.person_refiner) {
    const half = MASK_SIDE / 2;
    const tensor = new ort.Tensor("float32", math.foldPixels(small, mask), [1, 16, half, half]);
    const refined = await run("person_refiner", { [networks.person_refiner.inputNames[0]]: tensor });
    mask = math.unfoldLogits(Object.values(refined)[0], MASK_SIDE);
  }
  return math.resize(mask, picture.width, picture.height, "linear");
}

// Returns the person's mask: the picture's alpha if it is a person mask, else the segmenter's mask of the visible pixels.
export async function locatePerson({ picture, alpha, inside }) {
  const visible = alpha ? math.visiblePart(picture, alpha, inside) : { picture, inside };
  const segmented = math.keepFaceComponent(await segment(visible.picture), visible.inside, config.crop);
  return alpha && math.alphaIsMask(alpha, segmented, inside) ? alpha : segmented;
}

// --- the generator

// Whether the generator paints squares of any side; if not, only of side `config.crop.size_px`.
export const paintsAnySide = () => typeof networks.generator.inputMetadata[0].shape[1] !== "number";

// Paints a square picture. `style` is one of `config.styles` or the result of `predictStyle`. Its `vector` is null for a
// model that has only one style. The generator for examples paints if the style is `ofExample` and the model has one.
export async function generate(picture, mask, { vector, ofExample }) {
  const { width: side } = picture;
  const result = await run(ofExample ? await exampleGenerator() : "generator", {
    pictures: new ort.Tensor("uint8", new Uint8Array(picture.data), [1, side, side, 3]),
    masks: new ort.Tensor("uint8", new Uint8Array(mask.data), [1, side, side]),
    ...(vector && { styles: new ort.Tensor("float32", Float32Array.from(vector), [1, vector.length]) }),
  });
  return { ...picture, data: new Uint8ClampedArray(result.painted) };
}

async function exampleGenerator() {
  if (openExampleGenerator) networks[EXAMPLE_GENERATOR] = await openExampleGenerator();
  openExampleGenerator = null;
  return networks[EXAMPLE_GENERATOR] ? EXAMPLE_GENERATOR : "generator";
}

// --- styles

export const canFollowExample = () => Boolean(networks.style_predictor);

// Returns the style of the person in a square picture.
export async function predictStyle(picture, mask) {
  const scaled = math.toSide(math.onGrey(picture, mask), STYLE_SIDE);
  const input = new ort.Tensor("float32", math.mapBytes(Float32Array, scaled.data, (value) => value / 255), [1, STYLE_SIDE, STYLE_SIDE, 3]);
  const [vector] = Object.values(await run("style_predictor", { [networks.style_predictor.inputNames[0]]: input }));
  return { vector, ofExample: true };
}
