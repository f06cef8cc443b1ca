// The steps of portraitist.crop, portraitist.mask and core/blend.py in JavaScript, with the same constants.
// A picture is { width, height, channels, data }; data is a Uint8ClampedArray, which rounds as numpy does, or a Float32Array.
// Coordinates x and y are in pixels. A transform is a 2 x 3 list. A face is { score, box, points }.

export const [RIGHT_EYE, LEFT_EYE, NOSE, MOUTH] = [0, 1, 2, 3];
const MIN_IOU = 0.3;
export const MIN_REDUCED = 1008;
export const MIN_CANDIDATE_SCORE = 0.4;
export const MIN_VERIFY_SCORE = 0.1;
export const VIEW_SIDE = 0.6;
const VIEW_GAMMA = 0.6;
export const [VERIFY_EYE_LINE, VERIFY_EYE_TO_MOUTH] = [0.44, 0.2];
const [MOVE_PENALTY, MAX_MOVE] = [0.1, 2];
const [MIN_NOSE_DISTANCE, MIN_FACE_RATIO] = [0.3, 1.05];
export const [SURE_SCORE, ORIENTATION_EYE_TO_MOUTH, MIN_ORIENTATION_SCORE] = [0.85, 0.13, 0.02];
export const [CONFIDENT_SCORE, ROTATION_MARGIN, MIN_ROTATED_SCORE] = [0.77, 0.06, 0.65];
const [FADE_WIDTH, BLUR_SIDE] = [0.06, 64];
const GREY = 128;
const [ZERO_PROBABILITY, FULL_PROBABILITY] = [0.3, 0.8];
const [OPAQUE, MIN_TRANSPARENT, CONVEX] = [250, 0.02, 0.95];
const [MIN_ALPHA_IOU, MIN_CONVEX_ALPHA_IOU] = [0.7, 0.9];
const WINDOWS = [0.02, 0.05, 0.15, 0.5, 1];
const [COLOUR_DETAIL, COLOUR_GRID] = [0.03, 64];

export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
export const roundHalfEven = (value) => { // halves to the even number, as in numpy and OpenCV
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2) ? floor + 1 : floor;
};
export function blank(width, height, channels, value = 0) {
  const data = new Uint8ClampedArray(width * height * channels);
  return { width, height, channels, data: value ? data.fill(value) : data };
}
export const hypot = (transform) => Math.hypot(transform[0][0], transform[1][0]);

// --- values of many pixels. Here and below, loops over pixels are short functions: browsers optimize these earlier than long ones.
// `| 0` marks integers that may have been computed from fractions; browsers then use them as indexes without conversion.

// Does the same as `Type.from(data, value)`, which is slow on large arrays.
export function mapTo(Type, data, value) {
  const result = new Type(data.length);
  for (let i = 0; i < data.length; i++) result[i] = value(data[i], i);
  return result;
}

// Returns `value(byte)` for each byte of an array, from a table of the 256 results.
export function mapBytes(Type, bytes, value) {
  const values = Type.from({ length: 256 }, (_, byte) => value(byte));
  const result = new Type(bytes.length);
  for (let i = 0; i < bytes.length; i++) result[i] = values[bytes[i]];
  return result;
}

// Applies a function to the values of a picture or plane of bytes.
export const mapPlane = (plane, value) => ({ ...plane, data: mapBytes(Uint8ClampedArray, plane.data, value) });

export function allEqual(data, value) {
  for (let i = 0; i < data.length; i++) if (data[i] !== value) return false;
  return true;
}

// Returns the smaller value of two planes for each pixel.
export function minimum(plane, { data: others }) {
  const { data } = plane;
  const result = new Uint8ClampedArray(data.length);
  for (let i = 0; i < data.length; i++) result[i] = data[i] < others[i] ? data[i] : others[i];
  return { ...plane, data: result };
}

// --- conversion from and to the pixels of canvases

// Returns the picture and the alpha channel of a canvas's pixels; the alpha channel is null if all pixels are opaque.
export function fromRgba(rgba, width, height) {
  const data = new Uint8Array(width * height * 3); // written faster than a Uint8ClampedArray, without clamping
  const pixels = new Uint32Array(rgba.buffer, rgba.byteOffset, width * height); // little-endian: alpha is the highest byte
  let commonBits = -1; // bits that are set in all pixels
  for (let i = 0, to = 0; i < pixels.length; i++, to += 3) {
    const pixel = pixels[i];
    data[to] = pixel;
    data[to + 1] = pixel >>> 8;
    data[to + 2] = pixel >>> 16;
    commonBits &= pixel;
  }
  const picture = { width, height, channels: 3, data: new Uint8ClampedArray(data.buffer) };
  if (commonBits >>> 24 === 255) return { picture, alpha: null };
  const alpha = blank(width, height, 1);
  for (let i = 0; i < pixels.length; i++) alpha.data[i] = pixels[i] >>> 24;
  return { picture, alpha };
}

export function toImageData({ width, height, data }, mask) {
  const image = new ImageData(width, height);
  const pixels = image.data;
  for (let i = 0, from = 0, to = 0; i < width * height; i++) {
    pixels[to++] = data[from++];
    pixels[to++] = data[from++];
    pixels[to++] = data[from++];
    pixels[to++] = mask ? mask.data[i] : 255;
  }
  return image;
}

// --- resizing and warping, as in OpenCV

// Returns the source pixels of target pixels first to last - 1 of one axis, and their weights. The sources of the i-th target
// pixel begin at firsts[i]; their weights have the indexes starts[i] to starts[i + 1] - 1.
function sampleWeights(from, to, kind, first, last) {
  const step = from / to;
  const [firsts, starts, weights] = [[], [0], []];
  const kernel = new Float64Array(kind === "linear" ? 2 : 4);
  for (let target = first; target < last; target++) {
    if (kind === "area") {
      const [start, end] = [target * step, Math.min((target + 1) * step, from)];
      firsts.push(Math.floor(start));
      for (let i = Math.floor(start); i < end - 1e-9; i++) weights.push((Math.min(i + 1, end) - Math.max(i, start)) / (end - start));
    } else {
      const centre = (target + 0.5) * step - 0.5;
      setWeights(kernel, centre - Math.floor(centre));
      const begin = Math.floor(centre) - (kernel.length >> 1) + 1;
      let previous = -1;
      for (let i = 0; i < kernel.length; i++) {
        const source = clamp(begin + i, 0, from - 1); // pixels beyond the border repeat those at it
        if (source === previous) weights[weights.length - 1] += kernel[i];
        else weights.push(kernel[i]);
        if (i === 0) firsts.push(source);
        previous = source;
      }
    }
    starts.push(weights.length);
  }
  return { firsts: Int32Array.from(firsts), starts: Int32Array.from(starts), weights: Float32Array.from(weights) };
}

// Writes the weights of the 2 (linear) or 4 (cubic) pixels around a position; t is its distance from the pixel before it.
function setWeights(weights, t) {
  if (weights.length === 2) {
    weights[0] = 1 - t;
    weights[1] = t;
    return;
  }
  const a = -0.75;
  const [far, rest] = [1 + t, 1 - t];
  weights[0] = ((a * far - 5 * a) * far + 8 * a) * far - 4 * a;
  weights[1] = ((a + 2) * t - (a + 3)) * t * t + 1;
  weights[2] = ((a + 2) * rest - (a + 3)) * rest * rest + 1;
  weights[3] = 1 - weights[0] - weights[1] - weights[2];
}

// Resizes a picture. Only the part of the result in `view`, { left, top, right, bottom }, is computed and returned.
export function resize(picture, width, height, kind, view = { left: 0, top: 0, right: width, bottom: height }) {
  const { channels, data } = picture;
  const { left, top, right, bottom } = view;
  const isWhole = right - left === width && bottom - top === height;
  if (width === picture.width && height === picture.height) return isWhole ? picture : cut(picture, left, top, right - left, bottom - top);
  const across = sampleWeights(picture.width, width, kind, left, right);
  const down = sampleWeights(picture.height, height, kind, top, bottom);
  const [stride, length] = [picture.width * channels, (right - left) * channels];
  const taps = Math.max(...down.starts.subarray(1).map((start, y) => start - down.starts[y]));
  const narrow = new Float32Array(taps * length); // the last `taps` source rows, resampled
  const result = new data.constructor(length * (bottom - top));
  const line = new Float32Array(stride); // a source row; with a single type of array, the loops below are compiled to faster code
  const row = new Float32Array(length);
  for (let y = 0, next = down.firsts[0]; y < bottom - top; y++) {
    const [source, start, count] = [down.firsts[y], down.starts[y], down.starts[y + 1] - down.starts[y]];
    for (; next < source + count; next++) {
      line.set(data.subarray(next * stride, (next + 1) * stride));
      resampleRow(line, channels, across, narrow, ((next % taps) * length) | 0);
    }
    mixRows(row, narrow, source, taps, down.weights, start, count);
    result.set(row, y * length);
  }
  return { width: right - left, height: bottom - top, channels, data: result };
}

// Writes the weighted sum of `count` rows to `row`. Row r of the source is at `(r % taps) * row.length`.
function mixRows(row, data, source, taps, weights, start, count) {
  const length = row.length;
  const place = (k) => (((source + k) % taps) * length) | 0;
  let k = 0;
  if (count >= 4) {
    const [p, q, r, s] = [weights[start], weights[start + 1], weights[start + 2], weights[start + 3]];
    for (let i = 0, a = place(0), b = place(1), c = place(2), d = place(3); i < length; i++) {
      row[i] = p * data[a + i] + q * data[b + i] + r * data[c + i] + s * data[d + i];
    }
    k = 4;
  } else if (count >= 2) {
    const [p, q] = [weights[start], weights[start + 1]];
    for (let i = 0, a = place(0), b = place(1); i < length; i++) row[i] = p * data[a + i] + q * data[b + i];
    k = 2;
  } else row.fill(0);
  for (; k < count; k++) {
    const weight = weights[start + k];
    for (let i = 0, a = place(k); i < length; i++) row[i] += weight * data[a + i];
  }
}

// Resamples one row of a picture.
function resampleRow(line, channels, { firsts, starts, weights }, target, to) {
  const count = firsts.length;
  if (channels === 3) {
    for (let x = 0; x < count; x++) {
      let red = 0;
      let green = 0;
      let blue = 0;
      for (let k = starts[x], end = starts[x + 1], from = firsts[x] * 3; k < end; k++, from += 3) {
        const weight = weights[k];
        red += weight * line[from];
        green += weight * line[from + 1];
        blue += weight * line[from + 2];
      }
      target[to++] = red;
      target[to++] = green;
      target[to++] = blue;
    }
  } else {
    for (let x = 0; x < count; x++) {
      for (let c = 0; c < channels; c++) {
        let sum = 0;
        for (let k = starts[x], end = starts[x + 1], from = firsts[x] * channels + c; k < end; k++, from += channels) {
          sum += weights[k] * line[from];
        }
        target[to++] = sum;
      }
    }
  }
}

// Resizes a picture to a square: by area if the picture is larger, else by the kind `otherwise`.
export const toSide = (picture, side, otherwise = "linear") =>
  resize(picture, side, side, Math.max(picture.width, picture.height) > side ? "area" : otherwise);

export const invert = ([[a, b, x], [c, d, y]]) => {
  const det = a * d - b * c;
  const [p, q, r, s] = [d / det, -b / det, -c / det, a / det];
  return [[p, q, -(p * x + q * y)], [r, s, -(r * x + s * y)]];
};

export const applyTransform = ([[a, b, e], [c, d, f]], [x, y]) => [a * x + b * y + e, c * x + d * y + f];

// Returns the transform that applies `first`, then the other one.
export const compose = ([[a, b, e], [c, d, f]], first) => {
  const [[p, q, x], [r, s, y]] = first;
  return [[a * p + b * r, a * q + b * s, a * x + b * y + e], [c * p + d * r, c * q + d * s, c * x + d * y + f]];
};

// Returns the part of a picture that a square shows, given the transform from the square to the picture.
function viewOf(inverse, side, { width, height }) {
  const reach = 4; // margin in pixels, for the kernel and for rounding
  const corners = [[0, 0], [side, 0], [0, side], [side, side]].map((corner) => applyTransform(inverse, corner));
  const [[left, right], [top, bottom]] = [width, height].map((length, axis) => {
    const values = corners.map((corner) => corner[axis]);
    const low = clamp(Math.floor(Math.min(...values)) - reach, 0, length - 1);
    return [low, clamp(Math.ceil(Math.max(...values)) + reach, low + 1, length)];
  });
  return { left, top, right, bottom };
}

// Returns how `warp` samples a picture of this size: the size to which it is reduced first, the part of it that the square
// shows, the transform from the square to this part, and the number of pixels of the kernel on each axis.
function sampling(size, transform, side) {
  const scale = hypot(transform);
  const taps = scale < 0.7 ? 2 : 4;
  const { width, height } = size;
  const small = scale >= 0.5 ? [width, height] : [width, height].map((length) => Math.max(1, roundHalfEven(length * 2 * scale)));
  const [sx, sy] = [small[0] / width, small[1] / height];
  const [[a, b, e], [c, d, f]] = invert(transform.map(([p, q, shift]) => [Math.fround(p / sx), Math.fround(q / sy), Math.fround(shift)]));
  const view = viewOf([[a, b, e], [c, d, f]], side, { width: small[0], height: small[1] });
  return { width: small[0], height: small[1], view, inverse: [[a, b, e - view.left], [c, d, f - view.top]], taps };
}

// The counterpart of `warp` in crop/geometry.py; border is "replicate" or "constant".
export function warp(picture, transform, side, border) {
  const { width, height, view, inverse, taps } = sampling(picture, transform, side);
  return sample(resize(picture, width, height, "area", view), inverse, side, taps, border === "constant");
}

const MARGIN = 4; // pixels around a picture that is sampled, so that no kernel extends beyond it

const PHASE_BITS = 10;
const PHASES = 1 << PHASE_BITS; // positions between two pixels for which cubic weights are computed
const CUBIC = new Float64Array(4 * PHASES);
for (let i = 0; i < PHASES; i++) setWeights(CUBIC.subarray(4 * i, 4 * i + 4), i / PHASES);

// Returns a square of a picture, given the transform from the square to the picture; the kernel has taps x taps pixels.
function sample(picture, [[a, b, e], [c, d, f]], side, taps, isConstant) {
  const padded = pad(picture, MARGIN, isConstant);
  const [low, right, bottom] = [MARGIN - 2, padded.width - MARGIN + 1, padded.height - MARGIN + 1];
  const result = blank(side, side, picture.channels);
  const row = new Float32Array(side * picture.channels);
  const [columns, rows] = [new Float64Array(side), new Float64Array(side)];
  const sampleRow = taps === 2 ? sampleLinear : sampleCubic;
  for (let y = 0; y < side; y++) {
    const [u, v] = [b * y + e + MARGIN, d * y + f + MARGIN];
    writePositions(columns, a, u, low, right);
    writePositions(rows, c, v, low, bottom);
    sampleRow(row, padded, columns, rows);
    result.data.set(row, y * row.length);
  }
  return result;
}

function writePositions(positions, step, start, low, high) {
  for (let x = 0; x < positions.length; x++) positions[x] = Math.min(Math.max(step * x + start, low), high);
}

function sampleLinear(target, { width, channels, data }, columns, rows) {
  const stride = (width * channels) | 0;
  for (let x = 0, to = 0; x < columns.length; x++) {
    const column = columns[x] | 0;
    const row = rows[x] | 0;
    const right = columns[x] - column;
    const below = rows[x] - row;
    for (let at = row * stride + column * channels, end = at + channels; at < end; at++, to++) {
      target[to] = (1 - below) * ((1 - right) * data[at] + right * data[at + channels])
        + below * ((1 - right) * data[at + stride] + right * data[at + stride + channels]);
    }
  }
}

function sampleCubic(target, { width, channels, data }, columns, rows) {
  const weights = CUBIC;
  const stride = (width * channels) | 0;
  for (let x = 0, to = 0; x < columns.length; x++) {
    const u = (columns[x] * PHASES + 0.5) | 0;
    const v = (rows[x] * PHASES + 0.5) | 0;
    const right = 4 * (u & (PHASES - 1));
    const below = 4 * (v & (PHASES - 1));
    const p = weights[right]; // p to s: weights across; k to n: down
    const q = weights[right + 1];
    const r = weights[right + 2];
    const s = weights[right + 3];
    const k = weights[below];
    const l = weights[below + 1];
    const m = weights[below + 2];
    const n = weights[below + 3];
    const start = ((v >> PHASE_BITS) - 1) * stride + ((u >> PHASE_BITS) - 1) * channels;
    for (let at = start, end = start + channels; at < end; at++, to++) {
      target[to] = k * weighted(data, at, channels, p, q, r, s)
        + l * weighted(data, at + stride, channels, p, q, r, s)
        + m * weighted(data, at + 2 * stride, channels, p, q, r, s)
        + n * weighted(data, at + 3 * stride, channels, p, q, r, s);
    }
  }
}

// Returns the sum of four values, `step` apart, with the weights p, q, r and s.
const weighted = (data, at, step, p, q, r, s) =>
  p * data[at] + q * data[at + step] + r * data[at + 2 * step] + s * data[at + 3 * step];

// Returns where a picture covers the square that `warp` returns: 255 where it does, 0 where it does not.
export function warpCovered(size, transform, side) {
  const [inner, reach] = [invert(transform), 2 / Math.min(1, 2 * hypot(transform)) + 1];
  const isCovered = [[0, 0], [side, 0], [0, side], [side, side]].every((corner) => {
    const [x, y] = applyTransform(inner, corner);
    return x >= reach && y >= reach && x < size.width - 1 - reach && y < size.height - 1 - reach;
  });
  if (isCovered) return blank(side, side, 1, 255);
  const { view, inverse, taps } = sampling(size, transform, side);
  return sample(blank(view.right - view.left, view.bottom - view.top, 1, 255), inverse, side, taps, true);
}

// Extends a picture by `margin` pixels on each side: its border pixels are repeated, or the new pixels are 0.
export function pad({ width, height, channels, data }, margin, isConstant = false) {
  const result = blank(width + 2 * margin, height + 2 * margin, channels);
  const [length, border] = [width * channels, margin * channels];
  for (let y = 0; y < result.height; y++) {
    const source = clamp(y - margin, 0, height - 1);
    if (isConstant && source !== y - margin) continue;
    const from = source * length;
    const to = y * (length + 2 * border) + border;
    result.data.set(data.subarray(from, from + length), to);
    if (isConstant) continue;
    for (let i = 0; i < border; i++) {
      result.data[to - 1 - i] = data[from + channels - 1 - (i % channels)];
      result.data[to + length + i] = data[from + length - channels + (i % channels)];
    }
  }
  return result;
}

export function cut(picture, left, top, width, height = width) {
  const { channels, data } = picture;
  const length = width * channels;
  const result = new data.constructor(length * height);
  for (let y = 0; y < height; y++) {
    const from = ((top + y) * picture.width + left) * channels;
    result.set(data.subarray(from, from + length), y * length);
  }
  return { width, height, channels, data: result };
}

export const brighten = (picture) => mapPlane(picture, (value) => Math.floor(255 * (value / 255) ** VIEW_GAMMA));

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

// Decodes a detector's outputs to faces, in pixels of the picture before letterboxing.
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

// Returns all detections of the full-range model, and those of the short-range model that overlap none of them.
export const mergeDetectors = (fullRange, shortRange) =>
  [...fullRange, ...shortRange.filter((face) => fullRange.every((other) => iou(face.box, other.box) <= MIN_IOU))];

// Rotates a picture by 90 degrees counter-clockwise, as np.rot90 does.
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

// Maps a face from a picture that was rotated by `quarterTurns` to the original picture; the size is that after rotation.
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

export const scaleFace = (face, across, down = across) => ({
  ...face,
  box: face.box.map((value, i) => value * (i % 2 ? down : across)),
  points: face.points.map(([x, y]) => [x * across, y * down]),
});

// Centres a face's box on its nose; the size of the box does not change.
export function moveBox(face) {
  const half = sideOf(face) / 2;
  const [x, y] = face.points[NOSE];
  return { ...face, box: [x - half, y - half, x + half, y + half] };
}

// Updates a face by `found`, the best detection in its close-up, or undefined. `transform`: from the picture to the close-up.
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

// Returns the distance from the eyes to the mouth; if the estimate from the distance between the eyes is longer, that one.
export function eyeToMouth({ points }) {
  const [right, left, mouth] = [RIGHT_EYE, LEFT_EYE, MOUTH].map((i) => points[i]);
  const toMouth = Math.hypot(mouth[0] - (right[0] + left[0]) / 2, mouth[1] - (right[1] + left[1]) / 2);
  return Math.max(toMouth, Math.hypot(left[0] - right[0], left[1] - right[1]) * MIN_FACE_RATIO);
}

export function similarity(face, side, eyeLine, eyeToMouthShare) {
  const [right, left] = [RIGHT_EYE, LEFT_EYE].map((i) => face.points[i]);
  const eyes = [(right[0] + left[0]) / 2, (right[1] + left[1]) / 2];
  const between = Math.max(Math.hypot(left[0] - right[0], left[1] - right[1]), 1e-6);
  const scale = (eyeToMouthShare * side) / Math.max(eyeToMouth(face), 1e-6);
  const [a, b] = [0, 1].map((axis) => (scale * (left[axis] - right[axis])) / between);
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

// Places the aligned square around a face: returns the face, the transform from the picture to the square, and a plane that is
// 255 where the picture covers the square.
export function placeCrop(picture, face, params) {
  const transform = alignment(face, picture, params);
  return { face, transform, inside: warpCovered(picture, transform, params.size_px) };
}

// Throws an error if a crop does not meet the limits in `params`.
export function checkCrop({ face, inside }, params) {
  const scale = hypot(similarity(face, params.size_px, params.eye_line, params.eye_to_mouth));
  if (scale > params.max_upscale) {
    const limit = `at most ${params.max_upscale}x is allowed`;
    throw new Error(`the face is ${Math.round(sideOf(face))} px wide and needs ${scale.toFixed(1)}x enlargement; ${limit}`);
  }
  const share = inside.data.reduce((sum, value) => sum + value, 0) / inside.data.length / 255;
  if (share < params.min_visible) {
    const needed = `at least ${Math.round(params.min_visible * 100)}% are needed`;
    throw new Error(`only ${Math.round(share * 100)}% of head and shoulders are in the picture; ${needed}`);
  }
}

// Cuts the square that `placeCrop` places.
export function cropFace(picture, alpha, face, params) {
  const crop = placeCrop(picture, face, params);
  const { transform, inside } = crop;
  return {
    ...crop,
    picture: fadeBorder(warp(picture, transform, params.size_px, "replicate"), borderFade(inside)),
    alpha: alpha && warp(alpha, transform, params.size_px, "constant"),
  };
}

// Continues a square beyond the picture's border with blurred colours. `fade` is what `borderFade` returned.
export function fadeBorder(picture, fade) {
  if (!fade) return picture;
  const blurred = toSide(gaussianBlur(toSide(picture, BLUR_SIDE), FADE_WIDTH * BLUR_SIDE), picture.width);
  return composite(blurred, fade, picture);
}

// Returns the opacity of the blurred colours, or null if the picture covers the whole square: `inside` is 255 where it does.
export function borderFade(inside) {
  if (allEqual(inside.data, 255)) return null;
  const beyond = distanceTransform(inside, (value) => value === 255, CHAMFER_3);
  return { ...inside, data: mapTo(Uint8ClampedArray, beyond, (far) => Math.floor(255 * Math.min(far / (FADE_WIDTH * inside.width), 1))) };
}

const reflect = (i, count) => {
  if (count === 1) return 0;
  const period = 2 * (count - 1);
  const folded = ((i % period) + period) % period;
  return folded < count ? folded : period - folded;
};

// Returns the indexes of the values in the borders of a row, and of those that they mirror. The borders have `left` and `right`
// pixels; the row between them has `width` pixels.
function mirroredBorders(width, channels, left, right) {
  const border = left * channels;
  const outside = Int32Array.from({ length: border + right * channels }, (_, i) => (i < border ? i : i + width * channels));
  return [outside, outside.map((i) => border + reflect(Math.floor(i / channels) - left, width) * channels + (i % channels))];
}

// Convolves an image with a kernel along rows, then along columns. The kernel is symmetric; the border is mirrored.
export function convolve(values, width, height, channels, kernel) {
  const half = kernel.length >> 1;
  const weights = Float64Array.from({ length: half + 1 }, (_, distance) => kernel[half + distance]);
  const [length, border] = [width * channels, half * channels];
  const across = new Float32Array(values.length);
  const line = new Float64Array(length + 2 * border + 3); // a row with its mirrored borders
  const row = new Float64Array(length + 3);
  const [outside, mirrored] = mirroredBorders(width, channels, half, half);
  for (let start = 0; start < values.length; start += length) {
    line.set(values.subarray(start, start + length), border);
    for (let i = 0; i < outside.length; i++) line[outside[i]] = line[mirrored[i]];
    for (let i = 0, middle = border; i < length; i += 4, middle += 4) { // four sums at a time: fewer weights are read
      let a = weights[0] * line[middle];
      let b = weights[0] * line[middle + 1];
      let c = weights[0] * line[middle + 2];
      let d = weights[0] * line[middle + 3];
      for (let k = 1, left = middle - channels, right = middle + channels; k <= half; k++, left -= channels, right += channels) {
        const weight = weights[k];
        a += weight * (line[left] + line[right]);
        b += weight * (line[left + 1] + line[right + 1]);
        c += weight * (line[left + 2] + line[right + 2]);
        d += weight * (line[left + 3] + line[right + 3]);
      }
      row[i] = a;
      row[i + 1] = b;
      row[i + 2] = c;
      row[i + 3] = d;
    }
    across.set(row.subarray(0, length), start);
  }
  const result = new Float32Array(values.length);
  const sums = new Float64Array(length);
  for (let y = 0, to = 0; y < height; y++, to += length) {
    for (let i = 0; i < length; i++) sums[i] = weights[0] * across[to + i];
    for (let k = 1; k <= half; k++) {
      const weight = weights[k];
      const above = reflect(y - k, height) * length;
      const below = reflect(y + k, height) * length;
      for (let i = 0; i < length; i++) sums[i] += weight * (across[above + i] + across[below + i]);
    }
    result.set(sums, to);
  }
  return result;
}

// Returns OpenCV's Gaussian kernel. Its width is `reach` standard deviations: 6 for bytes and 8 for floats.
export function gaussianKernel(sigma, reach = 6) {
  const count = roundHalfEven(sigma * reach + 1) | 1;
  const raw = Array.from({ length: count }, (_, i) => Math.exp(-((i - (count >> 1)) ** 2) / (2 * sigma * sigma)));
  const sum = raw.reduce((total, value) => total + value, 0);
  return raw.map((value) => value / sum);
}

export function gaussianBlur(picture, sigma) {
  const { width, height, channels, data } = picture;
  return { ...picture, data: new Uint8ClampedArray(convolve(data, width, height, channels, gaussianKernel(sigma))) };
}

// Returns means over square windows; the border is mirrored, as in cv2.blur. `size` is odd.
export function boxBlur(values, width, height, channels, size) {
  const half = size >> 1;
  const [length, border, span] = [width * channels, half * channels, size * channels];
  const line = new Float64Array(length + span); // the sums of each column, with mirrored borders
  const sums = line.subarray(border, border + length);
  const [outside, mirrored] = mirroredBorders(width, channels, half, size - half);
  for (let y = -half; y <= half; y++) {
    const from = reflect(y, height) * length;
    for (let i = 0; i < length; i++) sums[i] += values[from + i];
  }
  const result = new Float32Array(values.length);
  const scale = 1 / (size * size);
  for (let y = 0, to = 0; y < height; y++, to += length) {
    for (let i = 0; i < span; i++) line[outside[i]] = line[mirrored[i]];
    for (let c = 0; c < channels; c++) {
      let sum = 0;
      for (let i = c; i < span; i += channels) sum += line[i];
      for (let i = c; i < length; i += channels) {
        result[to + i] = sum * scale;
        sum += line[i + span] - line[i];
      }
    }
    const entering = reflect(y + half + 1, height) * length;
    const leaving = reflect(y - half, height) * length;
    for (let i = 0; i < length; i++) sums[i] += values[entering + i] - values[leaving + i];
  }
  return result;
}

// Masks of OpenCV's DIST_L2, 3 x 3 and 5 x 5 pixels: [x, y, distance] from each neighbour to the pixel.
export const CHAMFER_3 = [[1, 0, 0.955], [0, 1, 0.955], [1, 1, 1.3693], [-1, 1, 1.3693]];
export const CHAMFER_5 = [[1, 0, 1], [0, 1, 1], [1, 1, 1.4], [-1, 1, 1.4],
  [1, 2, 2.1969], [-1, 2, 2.1969], [2, 1, 2.1969], [-2, 1, 2.1969]];

// Returns the distance of each pixel of a plane of bytes to the nearest pixel for whose value `isTarget` is true.
export const distanceTransform = (plane, isTarget, chamfer) => nearestTargets(plane, isTarget, chamfer).distances;

// Does the same, and also returns the index of the nearest pixel.
export function nearestTargets({ width, height, data }, isTarget, chamfer) {
  const isHere = mapBytes(Uint8Array, data, isTarget);
  const stride = width + 4; // with margins of 2 pixels, no tests for the border are needed
  const distances = new Float32Array(stride * (height + 4)).fill(1e6);
  const targets = new Int32Array(distances.length);
  const steps = Int32Array.from(chamfer, ([x, y]) => y * stride + x);
  const costs = Float32Array.from(chamfer, ([, , cost]) => cost);
  const rowStart = (y) => (y + 2) * stride + 2;
  for (let y = 0; y < height; y++) {
    for (let x = 0, i = y * width, to = rowStart(y); x < width; x++, i++, to++) {
      if (!isHere[i]) continue;
      distances[to] = 0;
      targets[to] = i;
    }
  }
  for (let y = 0; y < height; y++) relax(distances, targets, steps, costs, rowStart(y), width, 1);
  for (let y = height - 1; y >= 0; y--) relax(distances, targets, steps, costs, rowStart(y) + width - 1, width, -1);
  const [result, nearest] = [new Float32Array(width * height), new Int32Array(width * height)];
  for (let y = 0; y < height; y++) {
    const [from, to] = [rowStart(y), rowStart(y) + width];
    result.set(distances.subarray(from, to), y * width);
    nearest.set(targets.subarray(from, to), y * width);
  }
  return { distances: result, nearest };
}

// Updates a row of distances and targets by those of the neighbours before it, in one direction: 1 or -1.
function relax(distances, targets, steps, costs, start, count, direction) {
  for (let n = 0, i = start; n < count; n++, i += direction) {
    let best = distances[i];
    if (best === 0) continue;
    for (let k = 0; k < steps.length; k++) {
      const from = i - direction * steps[k];
      const distance = distances[from] + costs[k];
      if (distance >= best) continue;
      best = distance;
      targets[i] = targets[from];
    }
    distances[i] = best;
  }
}

export function composite(front, alpha, back) { // back may be a single grey value
  const result = back.data ? { ...front, data: back.data.slice() } : blank(front.width, front.height, 3, back);
  mixColours(result.data, front.data, alpha.data);
  return result;
}

function mixColours(target, front, alpha) {
  for (let i = 0, at = 0; i < alpha.length; i++, at += 3) {
    if (alpha[i] === 0) continue;
    const share = alpha[i] / 255;
    for (let c = at; c < at + 3; c++) target[c] = front[c] * share + target[c] * (1 - share);
  }
}

export const onGrey = (picture, alpha) => (alpha ? composite(picture, alpha, GREY) : picture);

// --- segmentation

export const toMask = (probabilities, side) =>
  ({ width: side, height: side, channels: 1, data: mapTo(Uint8ClampedArray, probabilities, (value) => value * 255) });

// Returns the refiner's input: 2 x 2 pixels of each channel (RGB and mask) become four channels; values from -1 to 1.
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

// Keeps only the components of a mask that are connected with the face.
export function keepFaceComponent(mask, inside, params) {
  const side = mask.width;
  const labels = components(mask, (value) => value > 127);
  const middle = roundHalfEven((params.eye_line + params.eye_to_mouth / 2) * side);
  const reach = Math.max(1, roundHalfEven((params.eye_to_mouth / 2) * side));
  const selected = new Set();
  for (let y = middle - reach; y < middle + reach; y++) {
    for (let x = (side >> 1) - reach; x < (side >> 1) + reach; x++) if (labels[y * side + x]) selected.add(labels[y * side + x]);
  }
  const component = { ...mask, data: mapTo(Uint8ClampedArray, labels, (label) => (selected.has(label) ? 1 : 0)) };
  const dilated = dilate(component, 5);
  return minimum({ ...mask, data: mapTo(Uint8ClampedArray, mask.data, (value, i) => value * dilated.data[i]) }, inside);
}

// Returns for each pixel of a plane of bytes the number of its 8-connected component, or 0 if `isSet` is false for its value.
export function components({ width, height, data }, isSet) {
  const isPart = mapBytes(Uint8Array, data, isSet);
  const labels = new Int32Array(data.length);
  let count = 0;
  for (let first = isPart.indexOf(1); first >= 0; first = isPart.indexOf(1, first)) fill(labels, isPart, width, height, first, ++count);
  return labels;
}

// Gives the pixels of one component a label, and removes them from `isPart`.
function fill(labels, isPart, width, height, first, label) {
  const todo = [first];
  isPart[first] = 0;
  labels[first] = label;
  while (todo.length) {
    const now = todo.pop();
    const x = now % width;
    const y = (now - x) / width;
    for (let v = Math.max(0, y - 1); v <= Math.min(height - 1, y + 1); v++) {
      for (let u = Math.max(0, x - 1); u <= Math.min(width - 1, x + 1); u++) {
        const next = v * width + u;
        if (!isPart[next]) continue;
        isPart[next] = 0;
        labels[next] = label;
        todo.push(next);
      }
    }
  }
}

// Returns the maximum over windows of size x size; pixels outside are ignored. Windows are doubled until they have this size.
export function dilate(plane, size) {
  const { width, height } = plane;
  const half = size >> 1;
  const padded = pad(plane, half, true);
  const { data } = padded;
  for (const unit of [1, padded.width]) { // in rows, then in columns
    for (let span = 1, step; span < size; span += step) {
      step = Math.min(span, size - span);
      raise(data, step * unit);
    }
  }
  const result = blank(width, height, 1);
  for (let y = 0; y < height; y++) result.data.set(data.subarray(y * padded.width, y * padded.width + width), y * width);
  return { ...plane, data: result.data };
}

function raise(data, step) {
  for (let i = 0, next = step; next < data.length; i++, next++) if (data[next] > data[i]) data[i] = data[next];
}

export function erode(plane, size) {
  const inverted = (each) => mapPlane(each, (value) => 255 - value);
  return inverted(dilate(inverted(plane), size));
}

// --- alpha channels

// Returns a picture for the segmenter in which the colours of opaque pixels are extended over the transparent ones.
export function visiblePart(picture, alpha, inside) {
  // without the outermost opaque pixels, whose colours were mixed with those of transparent ones when they were scaled
  const opaque = erode(mapPlane(alpha, (value) => (value >= OPAQUE ? 255 : 0)), 3);
  return { picture: extendForeground(picture, opaque), inside: minimum(inside, alpha) };
}

// Returns whether an alpha channel is a person mask, and not a round picture, rounded corners or a few transparent pixels.
export function alphaIsMask(alpha, segmented, inside) {
  let [covered, transparent, opaque] = [0, 0, 0];
  for (let i = 0; i < alpha.data.length; i++) {
    const isOpaque = alpha.data[i] > 127;
    if (isOpaque) opaque++;
    if (inside.data[i] <= 127) continue;
    covered++;
    if (!isOpaque) transparent++;
  }
  if (!opaque || !covered || transparent / covered < MIN_TRANSPARENT) return false;
  return maskIou(alpha, segmented) >= (opaque / hullArea(alpha) > CONVEX ? MIN_CONVEX_ALPHA_IOU : MIN_ALPHA_IOU);
}

// Returns the intersection over union of two masks.
export function maskIou(first, second) {
  let [common, either] = [0, 0];
  for (let i = 0; i < first.data.length; i++) {
    const [a, b] = [first.data[i] > 127, second.data[i] > 127];
    if (a && b) common++;
    if (a || b) either++;
  }
  return either ? common / either : 1;
}

// Returns the number of pixels in the convex hull of the opaque pixels.
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
  return { ...target, data: target.data.map((value, i) => photo.data[i] + strength * (value - photo.data[i])) };
}

// Replaces the low frequencies of a painting's chroma (CIELAB) by the photo's. Lightness and brushwork do not change.
function withColoursOf(painted, photo, mask) {
  const { width, height } = painted;
  const [paintedLab, photoLab] = [toLab(painted), toLab(photo)];
  const step = Math.max(1, Math.floor(width / COLOUR_GRID)); // the blur is computed on a coarser grid
  const [columns, rows] = [Math.ceil(width / step), Math.ceil(height / step)];
  const coarse = new Float32Array(columns * rows * 3); // per cell: the sums of weighted differences (a, b), and of weights
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [i, to] = [y * width + x, (Math.floor(y / step) * columns + Math.floor(x / step)) * 3];
      const weight = Math.max(mask.data[i] / 255, 1e-3);
      for (let c = 0; c < 2; c++) coarse[to + c] += weight * (photoLab[i * 3 + 1 + c] - paintedLab[i * 3 + 1 + c]);
      coarse[to + 2] += weight;
    }
  }
  const blurred = convolve(coarse, columns, rows, 3, gaussianKernel((COLOUR_DETAIL * width) / step));
  const view = { left: 0, top: 0, right: width, bottom: height };
  const { data: sums } = resize({ width: columns, height: rows, channels: 3, data: blurred }, columns * step, rows * step, "linear", view);
  const result = new Uint8ClampedArray(painted.data);
  for (let i = 0, at = 0; i < mask.data.length; i++, at += 3) {
    if (!mask.data[i]) continue;
    const weight = sums[at + 2];
    setRgb(result, at, paintedLab[at], paintedLab[at + 1] + sums[at] / weight, paintedLab[at + 2] + sums[at + 1] / weight);
  }
  return { ...painted, data: result };
}

const WHITE = [0.950456, 1, 1.088754];
const toLinear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
const LINEAR = Float32Array.from({ length: 256 }, (_, v) => toLinear(v / 255));
const curve = (t) => (t > 0.008856 ? Math.cbrt(t) : 7.787 * t + 16 / 116);
const luminance = (r, g, b) => 0.212671 * r + 0.71516 * g + 0.072169 * b;

// Returns the lightness of each pixel, as in `toLab`.
export function toLightness({ data }) {
  const lightness = new Float32Array(data.length / 3);
  for (let i = 0, at = 0; i < lightness.length; i++, at += 3) {
    lightness[i] = 116 * curve(luminance(LINEAR[data[at]], LINEAR[data[at + 1]], LINEAR[data[at + 2]])) - 16;
  }
  return lightness;
}

// Returns the grey value of each pixel, as OpenCV computes it.
export function toGrey({ width, height, data }) {
  const grey = blank(width, height, 1);
  for (let i = 0, at = 0; at < data.length; i++, at += 3) grey.data[i] = 0.299 * data[at] + 0.587 * data[at + 1] + 0.114 * data[at + 2];
  return grey;
}

// Returns lightness, a and b of each pixel; zeros where the optional mask is 0.
export function toLab({ data }, mask) {
  const lab = new Float32Array(data.length);
  for (let i = 0; i < data.length; i += 3) {
    if (!mask || mask.data[i / 3]) writeLab(lab, i, LINEAR[data[i]], LINEAR[data[i + 1]], LINEAR[data[i + 2]]);
  }
  return lab;
}

// Returns lightness, a and b of each pixel of colours that are not bytes, from 0 to 255.
export function labOfFloats(colours) {
  const linear = colours.map((value) => toLinear(clamp(value / 255, 0, 1)));
  const lab = new Float32Array(colours.length);
  for (let i = 0; i < lab.length; i += 3) writeLab(lab, i, linear[i], linear[i + 1], linear[i + 2]);
  return lab;
}

function writeLab(lab, i, r, g, b) {
  const x = curve((0.412453 * r + 0.35758 * g + 0.180423 * b) / WHITE[0]);
  const y = curve(luminance(r, g, b));
  const z = curve((0.019334 * r + 0.119193 * g + 0.950227 * b) / WHITE[2]);
  lab[i] = 116 * y - 16;
  lab[i + 1] = 500 * (x - y);
  lab[i + 2] = 200 * (y - z);
}

// Writes a colour's red, green and blue, from 0 to 255, to target[at], target[at + 1] and target[at + 2].
export function setRgb(target, at, lightness, a, b) {
  const middle = (lightness + 16) / 116;
  const x = WHITE[0] * fromCurve(middle + a / 500);
  const y = WHITE[1] * fromCurve(middle);
  const z = WHITE[2] * fromCurve(middle - b / 200);
  target[at] = gamma(3.240479 * x - 1.53715 * y - 0.498535 * z);
  target[at + 1] = gamma(-0.969256 * x + 1.875991 * y + 0.041556 * z);
  target[at + 2] = gamma(0.055648 * x - 0.204043 * y + 1.057311 * z);
}

const fromCurve = (t) => (t > 0.206893 ? t * t * t : (t - 16 / 116) / 7.787);

// The sRGB transfer function at multiples of 1 / GAMMA_STEPS, between which `gamma` interpolates: it needs no power per pixel,
// and its largest error is .005 of 255.
const GAMMA_STEPS = 4096;
const GAMMA = Float64Array.from({ length: GAMMA_STEPS + 2 }, (_, i) => {
  const v = Math.min(i / GAMMA_STEPS, 1);
  return 255 * (v <= 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055);
});
function gamma(v) {
  const position = clamp(v, 0, 1) * GAMMA_STEPS;
  const step = Math.floor(position);
  return GAMMA[step] + (position - step) * (GAMMA[step + 1] - GAMMA[step]);
}

// --- the foreground's colours, extended as in core/blend.py

// Extends the colours of pixels where the mask is 255 over all other pixels.
export function extendForeground(picture, mask) {
  const { width, height, channels } = picture;
  if (!mask.data.includes(255)) return picture;
  const planes = channels + 1;
  const known = new Float32Array(width * height * planes); // per pixel: colours and 1 where the mask is 255, else zeros
  const result = new Uint8ClampedArray(picture.data.length);
  let unknown = [];
  for (let i = 0; i < mask.data.length; i++) {
    if (mask.data[i] !== 255) {
      unknown.push(i);
      continue;
    }
    for (let c = 0; c < channels; c++) known[i * planes + c] = result[i * channels + c] = picture.data[i * channels + c];
    known[i * planes + channels] = 1;
  }
  for (const window of WINDOWS) {
    if (!unknown.length) break;
    const means = boxBlur(known, width, height, planes, 2 * Math.max(1, roundHalfEven(window * Math.max(width, height))) + 1);
    unknown = unknown.filter((i) => {
      const weight = means[i * planes + channels];
      if (weight === 0) return true;
      for (let c = 0; c < channels; c++) result[i * channels + c] = means[i * planes + c] / weight;
      return false;
    });
  }
  return { ...picture, data: result };
}
