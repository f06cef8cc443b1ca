// The steps of portraitist.crop, portraitist.mask and core/blend.py in JavaScript, with the same constants.
// A picture is { width, height, channels, data } with values of 0 to 255; x and y are in pixels, a transform is a 2 x 3 list.

export const [RIGHT_EYE, LEFT_EYE, NOSE, MOUTH] = [0, 1, 2, 3];
const MIN_IOU = 0.3;
export const MIN_CANDIDATE_SCORE = 0.4;
export const MIN_VERIFY_SCORE = 0.1;
export const VIEW_SIDE = 0.6;
const VIEW_GAMMA = 0.6;
export const [VERIFY_EYE_LINE, VERIFY_EYE_TO_MOUTH] = [0.44, 0.2];
const [MOVE_PENALTY, MAX_MOVE] = [0.1, 2];
const MIN_NOSE_DISTANCE = 0.3;
export const [SURE_SCORE, ORIENTATION_EYE_TO_MOUTH, MIN_ORIENTATION_SCORE] = [0.85, 0.13, 0.02];
export const [CONFIDENT_SCORE, ROTATION_MARGIN, MIN_ROTATED_SCORE] = [0.77, 0.06, 0.65];
const [FADE_WIDTH, BLUR_SIDE] = [0.06, 64];
const GREY = 128;
const [ZERO_PROBABILITY, FULL_PROBABILITY] = [0.1, 0.7];
const [OPAQUE, MIN_TRANSPARENT, CONVEX] = [250, 0.02, 0.95];
const [MIN_ALPHA_IOU, MIN_CONVEX_ALPHA_IOU] = [0.7, 0.9];
const WINDOWS = [0.02, 0.05, 0.15, 0.5];
const RIM = 0.012;
const [COLOUR_DETAIL, COLOUR_GRID] = [0.03, 64];

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const roundHalfEven = (value) => { // as numpy and OpenCV do
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2) ? floor + 1 : floor;
};
export const blank = (width, height, channels, value = 0) =>
  ({ width, height, channels, data: new Uint8Array(width * height * channels).fill(value) });
export const hypot = (transform) => Math.hypot(transform[0][0], transform[1][0]);

// --- pictures of canvases

export function fromRgba(data, width, height) {
  const picture = blank(width, height, 3);
  for (let i = 0, from = 0; i < picture.data.length; i += 3, from += 4) {
    picture.data[i] = data[from];
    picture.data[i + 1] = data[from + 1];
    picture.data[i + 2] = data[from + 2];
  }
  return picture;
}

export function toImageData({ width, height, data }, mask) {
  const pixels = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) pixels.data[i * 4 + c] = data[i * 3 + c];
    pixels.data[i * 4 + 3] = mask ? mask.data[i] : 255;
  }
  return pixels;
}

// --- resizing and warping, as in OpenCV

// For each target pixel of one axis, the source pixels and their weights.
function sampleWeights(from, to, kind) {
  const step = from / to;
  return Array.from({ length: to }, (_, target) => {
    if (kind === "area") {
      const [start, end] = [target * step, Math.min((target + 1) * step, from)];
      const samples = [];
      for (let i = Math.floor(start); i < end - 1e-9; i++) {
        samples.push([i, (Math.min(i + 1, end) - Math.max(i, start)) / (end - start)]);
      }
      return samples;
    }
    const centre = (target + 0.5) * step - 0.5;
    return kernelWeights(centre, kind).map(([i, weight]) => [clamp(i, 0, from - 1), weight]);
  });
}

function kernelWeights(centre, kind) {
  const floor = Math.floor(centre);
  const t = centre - floor;
  if (kind === "linear") return [[floor, 1 - t], [floor + 1, t]];
  const a = -0.75;
  const near = (x) => ((a + 2) * x - (a + 3)) * x * x + 1;
  const far = (x) => ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
  return [[floor - 1, far(1 + t)], [floor, near(t)], [floor + 1, near(1 - t)], [floor + 2, far(2 - t)]];
}

export function resize(picture, width, height, kind) {
  const { channels } = picture;
  const across = sampleWeights(picture.width, width, kind);
  const down = sampleWeights(picture.height, height, kind);
  const narrow = new Float32Array(width * picture.height * channels);
  for (let y = 0; y < picture.height; y++) {
    for (let x = 0; x < width; x++) {
      for (const [from, weight] of across[x]) {
        for (let c = 0; c < channels; c++) {
          narrow[(y * width + x) * channels + c] += weight * picture.data[(y * picture.width + from) * channels + c];
        }
      }
    }
  }
  const result = blank(width, height, channels);
  const row = new Float32Array(width * channels);
  for (let y = 0; y < height; y++) {
    row.fill(0);
    for (const [from, weight] of down[y]) {
      for (let i = 0; i < row.length; i++) row[i] += weight * narrow[from * row.length + i];
    }
    for (let i = 0; i < row.length; i++) result.data[y * row.length + i] = clamp(roundHalfEven(row[i]), 0, 255);
  }
  return result;
}

export const invert = ([[a, b, x], [c, d, y]]) => {
  const det = a * d - b * c;
  const [p, q, r, s] = [d / det, -b / det, -c / det, a / det];
  return [[p, q, -(p * x + q * y)], [r, s, -(r * x + s * y)]];
};

const applyTransform = ([[a, b, e], [c, d, f]], [x, y]) => [a * x + b * y + e, c * x + d * y + f];

// crop/geometry.py: warp; border is "replicate" or "constant"
export function warp(picture, transform, side, border) {
  const scale = hypot(transform);
  if (scale < 0.5) {
    const { width, height } = picture;
    const small = [width, height].map((length) => Math.max(1, roundHalfEven(length * 2 * scale)));
    picture = resize(picture, ...small, "area");
    const [sx, sy] = [small[0] / width, small[1] / height];
    transform = transform.map(([p, q, shift]) => [p / sx, q / sy, shift]);
  }
  const kind = scale < 0.7 ? "linear" : "cubic";
  const back = invert(transform);
  const { width, height, channels, data } = picture;
  const result = blank(side, side, channels);
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const [u, v] = applyTransform(back, [x, y]).map((value) => Math.round(value * 32) / 32); // OpenCV's resolution
      const sum = [0, 0, 0];
      for (const [row, down] of kernelWeights(v, kind)) {
        if (border === "constant" && (row < 0 || row >= height)) continue;
        for (const [column, across] of kernelWeights(u, kind)) {
          if (border === "constant" && (column < 0 || column >= width)) continue;
          const i = (clamp(row, 0, height - 1) * width + clamp(column, 0, width - 1)) * channels;
          for (let c = 0; c < channels; c++) sum[c] += down * across * data[i + c];
        }
      }
      for (let c = 0; c < channels; c++) result.data[(y * side + x) * channels + c] = clamp(roundHalfEven(sum[c]), 0, 255);
    }
  }
  return result;
}

export function cut(picture, left, top, side) {
  const result = blank(side, side, picture.channels);
  for (let y = 0; y < side; y++) {
    const from = ((top + y) * picture.width + left) * picture.channels;
    result.data.set(picture.data.subarray(from, from + side * picture.channels), y * side * picture.channels);
  }
  return result;
}

export const brighten = (picture) =>
  ({ ...picture, data: picture.data.map((value) => Math.floor(255 * (value / 255) ** VIEW_GAMMA)) });

// --- face detection

export function letterbox(picture, side) {
  const scale = side / Math.max(picture.width, picture.height);
  const [width, height] = [picture.width, picture.height].map((size) => Math.max(1, roundHalfEven(size * scale)));
  const small = resize(picture, width, height, scale < 1 ? "area" : "linear");
  const [left, top] = [(side - width) >> 1, (side - height) >> 1];
  const boxed = blank(side, side, 3);
  for (let y = 0; y < height; y++) {
    boxed.data.set(small.data.subarray(y * width * 3, (y + 1) * width * 3), ((top + y) * side + left) * 3);
  }
  return { boxed, scale, left, top };
}

export function anchors(side, layers) {
  return layers.flatMap(([stride, perCell]) => {
    const count = side / stride;
    return Array.from({ length: count * count * perCell }, (_, i) => {
      const cell = Math.floor(i / perCell);
      return [((cell % count) + 0.5) / count, (Math.floor(cell / count) + 0.5) / count];
    });
  });
}

// Decode a detector's outputs to faces in pixels of the picture before letterboxing.
export function decodeFaces(regressed, scores, centres, side, { scale, left, top }, minScore) {
  const toPicture = ([x, y]) => [(x * side - left) / scale, (y * side - top) / scale];
  const faces = [];
  for (const [i, centre] of centres.entries()) {
    const score = 1 / (1 + Math.exp(-clamp(scores[i], -80, 80)));
    if (score <= minScore) continue;
    const value = (k) => regressed[i * 16 + k] / side;
    const middle = [value(0) + centre[0], value(1) + centre[1]];
    const half = [value(2) / 2, value(3) / 2];
    const points = Array.from({ length: 6 }, (_, k) => [value(4 + 2 * k) + centre[0], value(5 + 2 * k) + centre[1]]);
    faces.push({ score, box: [middle[0] - half[0], middle[1] - half[1], middle[0] + half[0], middle[1] + half[1]], points });
  }
  return mergeOverlapping(faces).map(({ score, box, points }) =>
    ({ score, box: [...toPicture(box.slice(0, 2)), ...toPicture(box.slice(2))], points: points.map(toPicture) }));
}

function iou(a, b) {
  const inner = Math.max(0, Math.min(a[2], b[2]) - Math.max(a[0], b[0]))
    * Math.max(0, Math.min(a[3], b[3]) - Math.max(a[1], b[1]));
  const area = (box) => (box[2] - box[0]) * (box[3] - box[1]);
  return inner / Math.max(area(a) + area(b) - inner, 1e-9);
}

function mergeOverlapping(faces) {
  let rest = [...faces].sort((a, b) => b.score - a.score);
  const merged = [];
  while (rest.length) {
    const best = rest[0];
    const group = rest.filter((face) => face === best || iou(best.box, face.box) > MIN_IOU);
    rest = rest.filter((face) => !group.includes(face));
    const sum = group.reduce((total, face) => total + face.score, 0);
    const mean = (values) => group.reduce((total, face) => total + (face.score / sum) * values(face), 0);
    merged.push({
      score: best.score,
      box: best.box.map((_, i) => mean((face) => face.box[i])),
      points: best.points.map((_, i) => [mean((face) => face.points[i][0]), mean((face) => face.points[i][1])]),
    });
  }
  return merged;
}

export const sideOf = ({ box }) => Math.max(box[2] - box[0], box[3] - box[1]);

// The detections of the full-range model, and those of the short-range model that overlap none of them.
export const mergeDetectors = (fullRange, shortRange) =>
  [...fullRange, ...shortRange.filter((face) => fullRange.every((other) => iou(face.box, other.box) <= MIN_IOU))];

// Rotate by 90 degrees counter-clockwise, as np.rot90 does.
export function rotateQuarter({ width, height, channels, data }) {
  const result = blank(height, width, channels);
  for (let y = 0; y < width; y++) {
    for (let x = 0; x < height; x++) {
      const from = (x * width + width - 1 - y) * channels;
      for (let c = 0; c < channels; c++) result.data[(y * height + x) * channels + c] = data[from + c];
    }
  }
  return result;
}

// Map a face from a picture that was rotated by `quarterTurns`, whose size is given, to the original one.
export function rotateBack({ score, box, points }, quarterTurns, { width, height }) {
  let corners = [box.slice(0, 2), box.slice(2)];
  for (let turn = 0; turn < quarterTurns; turn++) {
    const last = (turn % 2 ? width : height) - 1;
    [corners, points] = [corners, points].map((list) => list.map(([x, y]) => [last - y, x]));
  }
  const [[left, top], [right, bottom]] = [Math.min, Math.max].map((extremum) => [0, 1].map((axis) => extremum(corners[0][axis], corners[1][axis])));
  return { score, box: [left, top, right, bottom], points };
}

export const shiftFace = (face, left, top) => ({
  ...face,
  box: face.box.map((value, i) => value + (i % 2 ? top : left)),
  points: face.points.map(([x, y]) => [x + left, y + top]),
});

export const scaleFace = (face, scale) => ({
  ...face,
  box: face.box.map((value) => value * scale),
  points: face.points.map(([x, y]) => [x * scale, y * scale]),
});

// Move a face's box, whose size is kept, to its nose.
export function moveBox(face) {
  const half = sideOf(face) / 2;
  const [x, y] = face.points[NOSE];
  return { ...face, box: [x - half, y - half, x + half, y + half] };
}

// Update a face by the best detection in its close-up, which is the picture under `transform`; `found` may be undefined.
export function verifyFace(face, found, transform, side) {
  if (!found) return { ...face, score: face.score / 2 };
  const inverse = invert(transform);
  const points = found.points.map((point) => applyTransform(inverse, point));
  const distances = [RIGHT_EYE, LEFT_EYE, MOUTH].flatMap((i) => [0, 1].map((axis) => Math.abs(points[i][axis] - face.points[i][axis])));
  const moved = Math.min((Math.max(...distances) * hypot(transform)) / (VERIFY_EYE_TO_MOUTH * side), MAX_MOVE);
  return { ...face, score: (face.score + found.score) / 2 - MOVE_PENALTY * moved, points };
}

export function dropDuplicates(faces) {
  const kept = [];
  for (const face of [...faces].sort((a, b) => b.score - a.score)) {
    const noseDistance = (other) =>
      Math.hypot(face.points[NOSE][0] - other.points[NOSE][0], face.points[NOSE][1] - other.points[NOSE][1]) / sideOf(other);
    const isDuplicate = kept.some((other) => noseDistance(other) <= MIN_NOSE_DISTANCE);
    if (!isDuplicate) kept.push(face);
  }
  return kept.sort((a, b) => b.score * sideOf(b) - a.score * sideOf(a));
}

export function similarity(face, side, eyeLine, eyeToMouth) {
  const [right, left, mouth] = [RIGHT_EYE, LEFT_EYE, MOUTH].map((i) => face.points[i]);
  const eyes = [(right[0] + left[0]) / 2, (right[1] + left[1]) / 2];
  const between = Math.hypot(left[0] - right[0], left[1] - right[1]);
  const axis = [(left[0] - right[0]) / Math.max(between, 1e-6), (left[1] - right[1]) / Math.max(between, 1e-6)];
  const down = Math.max(Math.hypot(mouth[0] - eyes[0], mouth[1] - eyes[1]), between * 1.05);
  const scale = (eyeToMouth * side) / Math.max(down, 1e-6);
  const [a, b] = [scale * axis[0], scale * axis[1]];
  return [[a, b, side / 2 - a * eyes[0] - b * eyes[1]], [-b, a, eyeLine * side + b * eyes[0] - a * eyes[1]]];
}

// --- cropping

export function alignment(face, picture, params) {
  const side = params.size_px;
  const transform = similarity(face, side, params.eye_line, params.eye_to_mouth);
  const { width, height } = picture;
  const corners = [[0, 0], [width, 0], [width, height], [0, height]].map((corner) => applyTransform(transform, corner));
  const anchor = [side / 2, params.eye_line * side];
  const zooms = [0, 1].flatMap((axis) => {
    const values = corners.map((corner) => corner[axis]);
    return [
      anchor[axis] / Math.max(anchor[axis] - Math.min(...values), 1e-6),
      (side - anchor[axis]) / Math.max(Math.max(...values) - anchor[axis], 1e-6),
    ];
  });
  const zoom = clamp(Math.min(...zooms), 1, Math.max(params.closest_eye_to_mouth / params.eye_to_mouth, 1));
  return similarity(face, side, params.eye_line, params.eye_to_mouth * zoom);
}

export function cropFace(picture, alpha, face, params) {
  const transform = alignment(face, picture, params);
  const scale = hypot(transform);
  if (scale > params.max_upscale) {
    const limit = `at most ${params.max_upscale}x is allowed`;
    throw new Error(`the face is ${Math.round(sideOf(face))} px wide and needs ${scale.toFixed(1)}x enlargement; ${limit}`);
  }
  const side = params.size_px;
  const inside = warp(blank(picture.width, picture.height, 1, 255), transform, side, "constant");
  const share = inside.data.reduce((sum, value) => sum + value, 0) / inside.data.length / 255;
  if (share < params.min_visible) {
    const needed = `at least ${Math.round(params.min_visible * 100)}% are needed`;
    throw new Error(`only ${Math.round(share * 100)}% of head and shoulders are in the picture; ${needed}`);
  }
  return {
    picture: fadeBorder(warp(picture, transform, side, "replicate"), inside),
    alpha: alpha && warp(alpha, transform, side, "constant"),
    inside,
    transform,
  };
}

function fadeBorder(picture, inside) {
  if (inside.data.every((value) => value === 255)) return picture;
  const side = picture.width;
  const small = resize(picture, BLUR_SIDE, BLUR_SIDE, side > BLUR_SIDE ? "area" : "linear");
  const blurred = resize(gaussianBlur(small, FADE_WIDTH * BLUR_SIDE), side, side, "linear");
  const beyond = distanceTransform(inside);
  const alpha = { ...inside, data: Uint8Array.from(beyond, (far) => Math.floor(255 * Math.min(far / (FADE_WIDTH * side), 1))) };
  return composite(blurred, alpha, picture);
}

const reflect = (i, count) => {
  if (count === 1) return 0;
  const period = 2 * (count - 1);
  const folded = ((i % period) + period) % period;
  return folded < count ? folded : period - folded;
};

function convolve(values, width, height, channels, kernel) { // separable convolution; the border is mirrored
  const half = kernel.length >> 1;
  const pass = (from, horizontal) => {
    const result = new Float32Array(from.length);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        for (const [i, weight] of kernel.entries()) {
          const [u, v] = horizontal ? [reflect(x + i - half, width), y] : [x, reflect(y + i - half, height)];
          for (let c = 0; c < channels; c++) result[(y * width + x) * channels + c] += weight * from[(v * width + u) * channels + c];
        }
      }
    }
    return result;
  };
  return pass(pass(values, true), false);
}

function gaussianKernel(sigma) {
  const count = roundHalfEven(sigma * 6 + 1) | 1;
  const raw = Array.from({ length: count }, (_, i) => Math.exp(-((i - (count >> 1)) ** 2) / (2 * sigma * sigma)));
  const sum = raw.reduce((total, value) => total + value, 0);
  return raw.map((value) => value / sum);
}

function gaussianBlur(picture, sigma) {
  const { width, height, channels } = picture;
  const result = convolve(picture.data, width, height, channels, gaussianKernel(sigma));
  return { ...picture, data: Uint8Array.from(result, (value) => clamp(roundHalfEven(value), 0, 255)) };
}

function distanceTransform(inside) { // to the nearest pixel inside the picture: 3 x 3 chamfer, as OpenCV's DIST_L2
  const { width, height, data } = inside;
  const [near, far] = [0.955, 1.3693];
  const distances = Float32Array.from(data, (value) => (value < 255 ? 1e6 : 0));
  const distanceAt = (x, y) => (x < 0 || y < 0 || x >= width || y >= height ? 1e6 : distances[y * width + x]);
  for (const direction of [1, -1]) {
    for (let row = 0; row < height; row++) {
      for (let column = 0; column < width; column++) {
        const [x, y] = direction > 0 ? [column, row] : [width - 1 - column, height - 1 - row];
        const best = Math.min(
          distanceAt(x - direction, y) + near,
          distanceAt(x, y - direction) + near,
          distanceAt(x - direction, y - direction) + far,
          distanceAt(x + direction, y - direction) + far,
        );
        if (best < distances[y * width + x]) distances[y * width + x] = best;
      }
    }
  }
  return distances;
}

export function composite(front, alpha, back) { // back may be a single grey value
  const result = blank(front.width, front.height, 3);
  for (let i = 0; i < result.data.length; i++) {
    const share = alpha.data[Math.floor(i / 3)] / 255;
    result.data[i] = roundHalfEven(front.data[i] * share + (back.data ? back.data[i] : back) * (1 - share));
  }
  return result;
}

export const onGrey = (picture, alpha) => (alpha ? composite(picture, alpha, GREY) : picture);

// --- segmentation

export const resizeSquare = (picture, side) =>
  resize(picture, side, side, Math.max(picture.width, picture.height) > side ? "area" : "cubic");

export const toMask = (probabilities, side) =>
  ({ width: side, height: side, channels: 1, data: Uint8Array.from(probabilities, (value) => roundHalfEven(clamp(value, 0, 1) * 255)) });

// The refiner's input: each channel's 2 x 2 pixels as four channels, in [-1, 1].
export function foldPixels(picture, mask) {
  const half = mask.width / 2;
  const result = new Float32Array(16 * half * half);
  for (let channel = 0; channel < 4; channel++) {
    for (let y = 0; y < mask.width; y++) {
      for (let x = 0; x < mask.width; x++) {
        const plane = channel * 4 + (y % 2) * 2 + (x % 2);
        const from = y * mask.width + x;
        const value = channel < 3 ? picture.data[from * 3 + channel] : mask.data[from];
        result[plane * half * half + (y >> 1) * half + (x >> 1)] = value / 127.5 - 1;
      }
    }
  }
  return result;
}

export function unfoldLogits(logits, side) {
  const half = side / 2;
  const probabilities = new Float32Array(side * side);
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const logit = logits[((y % 2) * 2 + (x % 2)) * half * half + (y >> 1) * half + (x >> 1)];
      probabilities[y * side + x] = (1 / (1 + Math.exp(-clamp(logit, -30, 30))) - ZERO_PROBABILITY) / (FULL_PROBABILITY - ZERO_PROBABILITY);
    }
  }
  return toMask(probabilities, side);
}

// Keep the components of the mask that are connected with the face, inside the picture.
export function keepFaceComponent(mask, inside, params) {
  const side = mask.width;
  const labels = new Int32Array(side * side);
  const floodFill = (start, label) => {
    const todo = [start];
    labels[start] = label;
    while (todo.length) {
      const now = todo.pop();
      const [x, y] = [now % side, Math.floor(now / side)];
      for (let v = Math.max(0, y - 1); v <= Math.min(side - 1, y + 1); v++) {
        for (let u = Math.max(0, x - 1); u <= Math.min(side - 1, x + 1); u++) {
          const next = v * side + u;
          if (!labels[next] && mask.data[next] > 127) {
            labels[next] = label;
            todo.push(next);
          }
        }
      }
    }
  };
  let count = 0;
  for (let i = 0; i < labels.length; i++) if (!labels[i] && mask.data[i] > 127) floodFill(i, ++count);
  const middle = roundHalfEven((params.eye_line + params.eye_to_mouth / 2) * side);
  const reach = Math.max(1, roundHalfEven((params.eye_to_mouth / 2) * side));
  const selected = new Set();
  for (let y = middle - reach; y < middle + reach; y++) {
    for (let x = (side >> 1) - reach; x < (side >> 1) + reach; x++) if (labels[y * side + x]) selected.add(labels[y * side + x]);
  }
  const component = { ...mask, data: Uint8Array.from(labels, (label) => (selected.has(label) ? 1 : 0)) };
  const dilated = morph(component, 5, Math.max);
  return { ...mask, data: mask.data.map((value, i) => Math.min(value * dilated.data[i], inside.data[i])) };
}

function morph(plane, count, extremum) { // dilation by Math.max, erosion by Math.min; pixels outside are ignored
  const { width, height, data } = plane;
  const half = count >> 1;
  const pass = (from, horizontal) => from.map((_, i) => {
    const [x, y] = [i % width, Math.floor(i / width)];
    let best = from[i];
    for (let step = -half; step <= half; step++) {
      const [u, v] = horizontal ? [x + step, y] : [x, y + step];
      if (u >= 0 && v >= 0 && u < width && v < height) best = extremum(best, from[v * width + u]);
    }
    return best;
  });
  return { ...plane, data: pass(pass(data, true), false) };
}

// --- alpha

// What an alpha leaves visible, for the segmenter: the opaque pixels' colours are extended over the others.
export function visiblePart(picture, alpha, inside) {
  const opaque = { ...alpha, data: alpha.data.map((value) => (value >= OPAQUE ? 255 : 0)) };
  const visible = { ...inside, data: inside.data.map((value, i) => Math.min(value, alpha.data[i])) };
  return { picture: extendForeground(picture, opaque), inside: visible };
}

// Whether an alpha is a person mask, and not a round picture, rounded corners or a few transparent pixels.
export function alphaIsMask(alpha, segmented, inside) {
  let [covered, transparent, opaque, common, either] = [0, 0, 0, 0, 0];
  for (let i = 0; i < alpha.data.length; i++) {
    const [isOpaque, isPerson] = [alpha.data[i] > 127, segmented.data[i] > 127];
    if (inside.data[i] > 127) {
      covered++;
      if (!isOpaque) transparent++;
    }
    if (isOpaque) opaque++;
    if (isOpaque && isPerson) common++;
    if (isOpaque || isPerson) either++;
  }
  if (!opaque || !covered || transparent / covered < MIN_TRANSPARENT) return false;
  return common / either >= (opaque / hullArea(alpha) > CONVEX ? MIN_CONVEX_ALPHA_IOU : MIN_ALPHA_IOU);
}

// The number of pixels in the convex hull of the opaque pixels.
function hullArea({ width, height, data }) {
  const ends = [];
  for (let y = 0; y < height; y++) {
    const row = data.subarray(y * width, (y + 1) * width);
    const left = row.findIndex((value) => value > 127);
    if (left >= 0) ends.push([left, y], [row.findLastIndex((value) => value > 127), y]);
  }
  const side = (direction) => { // the hull's left (1) or right (-1) border
    const border = [];
    for (const point of ends) {
      const turns = ([ax, ay], [bx, by]) => direction * ((bx - ax) * (point[1] - ay) - (by - ay) * (point[0] - ax)) >= 0;
      while (border.length > 1 && turns(border.at(-2), border.at(-1))) border.pop();
      border.push(point);
    }
    return border;
  };
  const columnAt = (border, y) => {
    const next = Math.max(1, border.findIndex((point) => point[1] >= y));
    const [[ax, ay], [bx, by]] = [border[next - 1], border[next] ?? border[next - 1]];
    return by === ay ? bx : ax + ((bx - ax) * (y - ay)) / (by - ay);
  };
  const [left, right] = [side(1), side(-1)];
  let area = 0;
  for (let y = ends[0][1]; y <= ends.at(-1)[1]; y++) area += Math.round(columnAt(right, y)) - Math.round(columnAt(left, y)) + 1;
  return area;
}

// --- strength and colours, as in styles.py

export function finishStyle(painted, photo, mask, { strength, keepColours }) {
  const target = keepColours ? withColoursOf(painted, photo, mask) : painted;
  if (strength === 1) return target;
  return { ...target, data: target.data.map((value, i) => roundHalfEven(photo.data[i] + strength * (value - photo.data[i]))) };
}

// Replace the low frequencies of a painting's chroma (CIELAB) by the photo's; lightness and brushwork stay.
function withColoursOf(painted, photo, mask) {
  const { width, height } = painted;
  const [paintedLab, photoLab] = [toLab(painted), toLab(photo)];
  const step = Math.max(1, Math.floor(width / COLOUR_GRID)); // the blur is computed on a coarser grid
  const [columns, rows] = [Math.ceil(width / step), Math.ceil(height / step)];
  const coarse = new Float32Array(columns * rows * 3); // the sums of weighted differences, and of weights
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [i, to] = [y * width + x, (Math.floor(y / step) * columns + Math.floor(x / step)) * 3];
      const weight = Math.max(mask.data[i] / 255, 1e-3);
      for (let c = 0; c < 2; c++) coarse[to + c] += weight * (photoLab[i * 3 + 1 + c] - paintedLab[i * 3 + 1 + c]);
      coarse[to + 2] += weight;
    }
  }
  const blurred = convolve(coarse, columns, rows, 3, gaussianKernel((COLOUR_DETAIL * width) / step));
  const result = Uint8Array.from(painted.data);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const i = y * width + x;
      if (!mask.data[i]) continue;
      const sums = [0, 0, 0];
      for (const [row, down] of kernelWeights((y + 0.5) / step - 0.5, "linear")) {
        for (const [column, across] of kernelWeights((x + 0.5) / step - 0.5, "linear")) {
          const from = (clamp(row, 0, rows - 1) * columns + clamp(column, 0, columns - 1)) * 3;
          for (let c = 0; c < 3; c++) sums[c] += down * across * blurred[from + c];
        }
      }
      const rgb = labToRgb(paintedLab[i * 3], paintedLab[i * 3 + 1] + sums[0] / sums[2], paintedLab[i * 3 + 2] + sums[1] / sums[2]);
      for (let c = 0; c < 3; c++) result[i * 3 + c] = rgb[c];
    }
  }
  return { ...painted, data: result };
}

const WHITE = [0.950456, 1, 1.088754];

function toLab({ data }) {
  const lab = new Float32Array(data.length);
  const linear = Float32Array.from({ length: 256 }, (_, v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
  const curve = (t) => (t > 0.008856 ? Math.cbrt(t) : 7.787 * t + 16 / 116);
  for (let i = 0; i < data.length; i += 3) {
    const [r, g, b] = [linear[data[i]], linear[data[i + 1]], linear[data[i + 2]]];
    const x = curve((0.412453 * r + 0.35758 * g + 0.180423 * b) / WHITE[0]);
    const y = curve(0.212671 * r + 0.71516 * g + 0.072169 * b);
    const z = curve((0.019334 * r + 0.119193 * g + 0.950227 * b) / WHITE[2]);
    lab[i] = 116 * y - 16;
    lab[i + 1] = 500 * (x - y);
    lab[i + 2] = 200 * (y - z);
  }
  return lab;
}

function labToRgb(lightness, a, b) {
  const y = (lightness + 16) / 116;
  const [x, fy, z] = [y + a / 500, y, y - b / 200].map((t, i) => WHITE[i] * (t > 0.206893 ? t ** 3 : (t - 16 / 116) / 7.787));
  return [
    3.240479 * x - 1.53715 * fy - 0.498535 * z,
    -0.969256 * x + 1.875991 * fy + 0.041556 * z,
    0.055648 * x - 0.204043 * fy + 1.057311 * z,
  ].map((v) => roundHalfEven(255 * clamp(v <= 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055, 0, 1)));
}

// --- the person's colours, extended under the mask's soft edge

export const extendPerson = (picture, mask) =>
  extendForeground(picture, morph(mask, 2 * Math.max(1, roundHalfEven(RIM * mask.height)) + 1, Math.min));

function extendForeground(picture, mask) {
  const { width, height } = mask;
  const known = Float32Array.from(mask.data, (value) => (value === 255 ? 1 : 0));
  if (!known.some(Boolean)) return picture;
  const colours = Float32Array.from(picture.data, (value, i) => value * known[Math.floor(i / 3)]);
  const result = Float32Array.from(colours);
  const filled = Float32Array.from(known);
  for (const window of WINDOWS) {
    const size = 2 * Math.max(1, roundHalfEven(window * Math.max(width, height))) + 1;
    const kernel = new Array(size).fill(1 / size);
    const weights = convolve(known, width, height, 1, kernel);
    if (filled.every((value, i) => value || weights[i] <= 1e-4)) continue;
    const sums = convolve(colours, width, height, 3, kernel);
    for (let i = 0; i < filled.length; i++) {
      if (filled[i] || weights[i] <= 1e-4) continue;
      filled[i] = 1;
      for (let c = 0; c < 3; c++) result[i * 3 + c] = sums[i * 3 + c] / weights[i];
    }
  }
  return { ...picture, data: Uint8Array.from(result, (value) => clamp(roundHalfEven(value), 0, 255)) };
}
