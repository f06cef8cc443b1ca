// What crop.py, mask.py and pictures.py do, in a browser: the same steps with the same constants.
// A picture is { width, height, channels, data }, its data 0 to 255; x and y are in pixels, a transform is a 2 x 3 list.

export const [RIGHT_EYE, LEFT_EYE, NOSE, MOUTH] = [0, 1, 2, 3];
const OVERLAP = 0.3;
export const FIRST = 0.4;
export const AT_ALL = 0.1;
export const CLOSER = 0.6;
const BRIGHTER = 0.6;
export const [SECOND_EYE_LINE, SECOND_EYE_TO_MOUTH] = [0.44, 0.2];
const ASTRAY = 0.1;
const FAR_ASTRAY = 2;
const SAME = 0.3;
const [FADED, FADED_SIDE] = [0.06, 64];
const GREY = 128;
const [NOBODY, SOMEBODY] = [0.1, 0.7];
const BLED = [0.02, 0.05, 0.15, 0.5];
const RIM = 0.012;

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const even = (value) => { // as numpy and OpenCV round
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2) ? floor + 1 : floor;
};
export const blank = (width, height, channels, value = 0) =>
  ({ width, height, channels, data: new Uint8Array(width * height * channels).fill(value) });
export const hypot = (transform) => Math.hypot(transform[0][0], transform[1][0]);

// --- scaling and turning, as OpenCV has them

// For each target pixel the source pixels of one axis and their weights.
function taps(from, to, kind) {
  const step = from / to;
  return Array.from({ length: to }, (_, at) => {
    if (kind === "area") {
      const [start, end] = [at * step, Math.min((at + 1) * step, from)];
      const places = [];
      for (let one = Math.floor(start); one < end - 1e-9; one++) {
        places.push([one, (Math.min(one + 1, end) - Math.max(one, start)) / (end - start)]);
      }
      return places;
    }
    const middle = (at + 0.5) * step - 0.5;
    return weighed(middle, kind).map(([one, weight]) => [clamp(one, 0, from - 1), weight]);
  });
}

function weighed(middle, kind) {
  const floor = Math.floor(middle);
  const t = middle - floor;
  if (kind === "linear") return [[floor, 1 - t], [floor + 1, t]];
  const a = -0.75;
  const near = (x) => ((a + 2) * x - (a + 3)) * x * x + 1;
  const far = (x) => ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
  return [[floor - 1, far(1 + t)], [floor, near(t)], [floor + 1, near(1 - t)], [floor + 2, far(2 - t)]];
}

export function resized(picture, width, height, kind) {
  const { channels } = picture;
  const across = taps(picture.width, width, kind);
  const down = taps(picture.height, height, kind);
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
  const made = blank(width, height, channels);
  const row = new Float32Array(width * channels);
  for (let y = 0; y < height; y++) {
    row.fill(0);
    for (const [from, weight] of down[y]) {
      for (let i = 0; i < row.length; i++) row[i] += weight * narrow[from * row.length + i];
    }
    for (let i = 0; i < row.length; i++) made.data[y * row.length + i] = clamp(even(row[i]), 0, 255);
  }
  return made;
}

export const inverted = ([[a, b, x], [c, d, y]]) => {
  const det = a * d - b * c;
  const [p, q, r, s] = [d / det, -b / det, -c / det, a / det];
  return [[p, q, -(p * x + q * y)], [r, s, -(r * x + s * y)]];
};

const moved = ([[a, b, e], [c, d, f]], [x, y]) => [a * x + b * y + e, c * x + d * y + f];

// crop.warped; border is "replicate" or "constant"
export function warped(picture, transform, side, border) {
  const scale = hypot(transform);
  if (scale < 0.5) {
    const { width, height } = picture;
    const small = [width, height].map((one) => Math.max(1, even(one * 2 * scale)));
    picture = resized(picture, ...small, "area");
    const [sx, sy] = [small[0] / width, small[1] / height];
    transform = transform.map(([p, q, shift]) => [p / sx, q / sy, shift]);
  }
  const kind = scale < 0.7 ? "linear" : "cubic";
  const back = inverted(transform);
  const { width, height, channels, data } = picture;
  const made = blank(side, side, channels);
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const [u, v] = moved(back, [x, y]).map((value) => Math.round(value * 32) / 32); // OpenCV's steps
      const sum = [0, 0, 0];
      for (const [row, down] of weighed(v, kind)) {
        if (border === "constant" && (row < 0 || row >= height)) continue;
        for (const [column, across] of weighed(u, kind)) {
          if (border === "constant" && (column < 0 || column >= width)) continue;
          const at = (clamp(row, 0, height - 1) * width + clamp(column, 0, width - 1)) * channels;
          for (let c = 0; c < channels; c++) sum[c] += down * across * data[at + c];
        }
      }
      for (let c = 0; c < channels; c++) made.data[(y * side + x) * channels + c] = clamp(even(sum[c]), 0, 255);
    }
  }
  return made;
}

export function cut(picture, left, top, side) {
  const made = blank(side, side, picture.channels);
  for (let y = 0; y < side; y++) {
    const from = ((top + y) * picture.width + left) * picture.channels;
    made.data.set(picture.data.subarray(from, from + side * picture.channels), y * side * picture.channels);
  }
  return made;
}

export const brighter = (picture) =>
  ({ ...picture, data: picture.data.map((value) => Math.floor(255 * (value / 255) ** BRIGHTER)) });

// --- finding a face

export function letterboxed(picture, side) {
  const scale = side / Math.max(picture.width, picture.height);
  const [width, height] = [picture.width, picture.height].map((one) => Math.max(1, even(one * scale)));
  const small = resized(picture, width, height, scale < 1 ? "area" : "linear");
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
    return Array.from({ length: count * count * perCell }, (_, at) => {
      const cell = Math.floor(at / perCell);
      return [((cell % count) + 0.5) / count, (Math.floor(cell / count) + 0.5) / count];
    });
  });
}

// What a detector said, as faces in pixels of the picture that was letterboxed.
export function faces(regressed, scores, where, side, { scale, left, top }, minScore) {
  const back = ([x, y]) => [(x * side - left) / scale, (y * side - top) / scale];
  const found = [];
  for (const [at, anchor] of where.entries()) {
    const score = 1 / (1 + Math.exp(-clamp(scores[at], -80, 80)));
    if (score <= minScore) continue;
    const value = (one) => regressed[at * 16 + one] / side;
    const middle = [value(0) + anchor[0], value(1) + anchor[1]];
    const half = [value(2) / 2, value(3) / 2];
    const points = Array.from({ length: 6 }, (_, one) => [value(4 + 2 * one) + anchor[0], value(5 + 2 * one) + anchor[1]]);
    found.push({ score, box: [middle[0] - half[0], middle[1] - half[1], middle[0] + half[0], middle[1] + half[1]], points });
  }
  return merged(found).map(({ score, box, points }) =>
    ({ score, box: [...back(box.slice(0, 2)), ...back(box.slice(2))], points: points.map(back) }));
}

function overlap(one, other) {
  const inner = Math.max(0, Math.min(one[2], other[2]) - Math.max(one[0], other[0]))
    * Math.max(0, Math.min(one[3], other[3]) - Math.max(one[1], other[1]));
  const area = (box) => (box[2] - box[0]) * (box[3] - box[1]);
  return inner / Math.max(area(one) + area(other) - inner, 1e-9);
}

function merged(found) {
  let free = [...found].sort((one, other) => other.score - one.score);
  const kept = [];
  while (free.length) {
    const best = free[0];
    const group = free.filter((one) => one === best || overlap(best.box, one.box) > OVERLAP);
    free = free.filter((one) => !group.includes(one));
    const sum = group.reduce((total, one) => total + one.score, 0);
    const mean = (values) => group.reduce((total, one) => total + (one.score / sum) * values(one), 0);
    kept.push({
      score: best.score,
      box: best.box.map((_, at) => mean((one) => one.box[at])),
      points: best.points.map((_, at) => [mean((one) => one.points[at][0]), mean((one) => one.points[at][1])]),
    });
  }
  return kept;
}

export const sideOf = ({ box }) => Math.max(box[2] - box[0], box[3] - box[1]);

export const shifted = (face, left, top) => ({
  ...face,
  box: face.box.map((value, at) => value + (at % 2 ? top : left)),
  points: face.points.map(([x, y]) => [x + left, y + top]),
});

// The face after the second look through the transform `there`; found is what that saw best, if anything.
export function again(face, found, there, side) {
  if (!found) return { ...face, score: face.score / 2 };
  const back = inverted(there);
  const points = found.points.map((point) => moved(back, point));
  const apart = [RIGHT_EYE, LEFT_EYE, MOUTH].flatMap((at) => [0, 1].map((axis) => Math.abs(points[at][axis] - face.points[at][axis])));
  const astray = Math.min((Math.max(...apart) * hypot(there)) / (SECOND_EYE_TO_MOUTH * side), FAR_ASTRAY);
  return { ...face, score: (face.score + found.score) / 2 - ASTRAY * astray, points };
}

export function apart(found) {
  const kept = [];
  for (const face of [...found].sort((one, other) => other.score - one.score)) {
    const near = kept.some((other) =>
      Math.hypot(face.points[NOSE][0] - other.points[NOSE][0], face.points[NOSE][1] - other.points[NOSE][1]) / sideOf(other) <= SAME);
    if (!near) kept.push(face);
  }
  return kept.sort((one, other) => other.score * sideOf(other) - one.score * sideOf(one));
}

export function similarity(face, side, eyeLine, eyeToMouth) {
  const [right, left, mouth] = [RIGHT_EYE, LEFT_EYE, MOUTH].map((at) => face.points[at]);
  const eyes = [(right[0] + left[0]) / 2, (right[1] + left[1]) / 2];
  const between = Math.hypot(left[0] - right[0], left[1] - right[1]);
  const axis = [(left[0] - right[0]) / Math.max(between, 1e-6), (left[1] - right[1]) / Math.max(between, 1e-6)];
  const down = Math.max(Math.hypot(mouth[0] - eyes[0], mouth[1] - eyes[1]), between * 1.05);
  const scale = (eyeToMouth * side) / Math.max(down, 1e-6);
  const [a, b] = [scale * axis[0], scale * axis[1]];
  return [[a, b, side / 2 - a * eyes[0] - b * eyes[1]], [-b, a, eyeLine * side + b * eyes[0] - a * eyes[1]]];
}

// --- cutting the square

export function alignment(face, picture, params) {
  const side = params.size_px;
  const there = similarity(face, side, params.eye_line, params.eye_to_mouth);
  const { width, height } = picture;
  const corners = [[0, 0], [width, 0], [width, height], [0, height]].map((corner) => moved(there, corner));
  const anchor = [side / 2, params.eye_line * side];
  const nearest = [0, 1].flatMap((axis) => {
    const values = corners.map((corner) => corner[axis]);
    return [
      anchor[axis] / Math.max(anchor[axis] - Math.min(...values), 1e-6),
      (side - anchor[axis]) / Math.max(Math.max(...values) - anchor[axis], 1e-6),
    ];
  });
  const nearer = clamp(Math.min(...nearest), 1, Math.max(params.closest_eye_to_mouth / params.eye_to_mouth, 1));
  return similarity(face, side, params.eye_line, params.eye_to_mouth * nearer);
}

export function square(picture, alpha, face, params) {
  const transform = alignment(face, picture, params);
  const scale = hypot(transform);
  if (scale > params.max_upscale) {
    throw new Error(`the face is ${Math.round(sideOf(face))} px wide; enlarged ${scale.toFixed(1)}-fold, ${params.max_upscale} is allowed`);
  }
  const side = params.size_px;
  const inside = warped(blank(picture.width, picture.height, 1, 255), transform, side, "constant");
  const share = inside.data.reduce((sum, value) => sum + value, 0) / inside.data.length / 255;
  if (share < params.min_inside) {
    const needed = `${Math.round(params.min_inside * 100)}% needed`;
    throw new Error(`only ${Math.round(share * 100)}% of the head and shoulders lie in the picture, ${needed}`);
  }
  return {
    picture: fading(warped(picture, transform, side, "replicate"), inside),
    alpha: alpha && warped(alpha, transform, side, "constant"),
    inside,
    transform,
  };
}

function fading(picture, inside) {
  if (inside.data.every((value) => value === 255)) return picture;
  const side = picture.width;
  const small = resized(picture, FADED_SIDE, FADED_SIDE, side > FADED_SIDE ? "area" : "linear");
  const blurred = resized(gaussian(small, FADED * FADED_SIDE), side, side, "linear");
  const beyond = distances(inside);
  const alpha = { ...inside, data: Uint8Array.from(beyond, (far) => Math.floor(255 * Math.min(far / (FADED * side), 1))) };
  return over(blurred, alpha, picture);
}

const reflected = (at, count) => {
  if (count === 1) return 0;
  const period = 2 * (count - 1);
  const place = ((at % period) + period) % period;
  return place < count ? place : period - place;
};

function along(values, width, height, channels, kernel) { // one pass across and one down; the border is mirrored
  const half = kernel.length >> 1;
  const pass = (from, horizontal) => {
    const made = new Float32Array(from.length);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        for (const [at, weight] of kernel.entries()) {
          const [u, v] = horizontal ? [reflected(x + at - half, width), y] : [x, reflected(y + at - half, height)];
          for (let c = 0; c < channels; c++) made[(y * width + x) * channels + c] += weight * from[(v * width + u) * channels + c];
        }
      }
    }
    return made;
  };
  return pass(pass(values, true), false);
}

function gaussian(picture, sigma) {
  const count = even(sigma * 6 + 1) | 1;
  const raw = Array.from({ length: count }, (_, at) => Math.exp(-((at - (count >> 1)) ** 2) / (2 * sigma * sigma)));
  const sum = raw.reduce((total, value) => total + value, 0);
  const { width, height, channels } = picture;
  const made = along(picture.data, width, height, channels, raw.map((value) => value / sum));
  return { ...picture, data: Uint8Array.from(made, (value) => clamp(even(value), 0, 255)) };
}

function distances(inside) { // to the nearest pixel that is all inside: chamfer of 3 x 3, as OpenCV's DIST_L2
  const { width, height, data } = inside;
  const [near, far] = [0.955, 1.3693];
  const made = Float32Array.from(data, (value) => (value < 255 ? 1e6 : 0));
  const at = (x, y) => (x < 0 || y < 0 || x >= width || y >= height ? 1e6 : made[y * width + x]);
  for (const way of [1, -1]) {
    for (let j = 0; j < height; j++) {
      for (let i = 0; i < width; i++) {
        const [x, y] = way > 0 ? [i, j] : [width - 1 - i, height - 1 - j];
        const best = Math.min(at(x - way, y) + near, at(x, y - way) + near, at(x - way, y - way) + far, at(x + way, y - way) + far);
        if (best < made[y * width + x]) made[y * width + x] = best;
      }
    }
  }
  return made;
}

export function over(front, alpha, back) { // back may be one shade of grey
  const made = blank(front.width, front.height, 3);
  for (let at = 0; at < made.data.length; at++) {
    const share = alpha.data[Math.floor(at / 3)] / 255;
    made.data[at] = even(front.data[at] * share + (back.data ? back.data[at] : back) * (1 - share));
  }
  return made;
}

export const onGrey = (picture, alpha) => (alpha ? over(picture, alpha, GREY) : picture);

// --- who is person

export const sized = (picture, side) =>
  resized(picture, side, side, Math.max(picture.width, picture.height) > side ? "area" : "cubic");

export const asBytes = (chances, side) =>
  ({ width: side, height: side, channels: 1, data: Uint8Array.from(chances, (value) => even(clamp(value, 0, 1) * 255)) });

// Picture and mask as the refiner takes them: each channel's 2 x 2 pixels as four channels, in [-1, 1].
export function folded(picture, mask) {
  const half = mask.width / 2;
  const made = new Float32Array(16 * half * half);
  for (let channel = 0; channel < 4; channel++) {
    for (let y = 0; y < mask.width; y++) {
      for (let x = 0; x < mask.width; x++) {
        const place = channel * 4 + (y % 2) * 2 + (x % 2);
        const from = y * mask.width + x;
        const value = channel < 3 ? picture.data[from * 3 + channel] : mask.data[from];
        made[place * half * half + (y >> 1) * half + (x >> 1)] = value / 127.5 - 1;
      }
    }
  }
  return made;
}

export function unfolded(logits, side) {
  const half = side / 2;
  const chances = new Float32Array(side * side);
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const logit = logits[((y % 2) * 2 + (x % 2)) * half * half + (y >> 1) * half + (x >> 1)];
      chances[y * side + x] = (1 / (1 + Math.exp(-clamp(logit, -30, 30))) - NOBODY) / (SOMEBODY - NOBODY);
    }
  }
  return asBytes(chances, side);
}

// The mask without what does not hang together with the face, and without what lies beyond the picture.
export function underFace(mask, inside, params) {
  const side = mask.width;
  const parts = new Int32Array(side * side);
  const spread = (start, name) => {
    const todo = [start];
    parts[start] = name;
    while (todo.length) {
      const now = todo.pop();
      const [x, y] = [now % side, Math.floor(now / side)];
      for (let v = Math.max(0, y - 1); v <= Math.min(side - 1, y + 1); v++) {
        for (let u = Math.max(0, x - 1); u <= Math.min(side - 1, x + 1); u++) {
          const next = v * side + u;
          if (!parts[next] && mask.data[next] > 127) {
            parts[next] = name;
            todo.push(next);
          }
        }
      }
    }
  };
  let names = 0;
  for (let at = 0; at < parts.length; at++) if (!parts[at] && mask.data[at] > 127) spread(at, ++names);
  const middle = even((params.eye_line + params.eye_to_mouth / 2) * side);
  const reach = Math.max(1, even((params.eye_to_mouth / 2) * side));
  const own = new Set();
  for (let y = middle - reach; y < middle + reach; y++) {
    for (let x = (side >> 1) - reach; x < (side >> 1) + reach; x++) if (parts[y * side + x]) own.add(parts[y * side + x]);
  }
  const held = { ...mask, data: Uint8Array.from(parts, (name) => (own.has(name) ? 1 : 0)) };
  const wide = extreme(held, 5, Math.max);
  return { ...mask, data: mask.data.map((value, at) => Math.min(value * wide.data[at], inside.data[at])) };
}

function extreme(plane, count, which) { // dilation by Math.max, erosion by Math.min; beyond the border counts for nothing
  const { width, height, data } = plane;
  const half = count >> 1;
  const pass = (from, horizontal) => from.map((_, at) => {
    const [x, y] = [at % width, Math.floor(at / width)];
    let best = from[at];
    for (let step = -half; step <= half; step++) {
      const [u, v] = horizontal ? [x + step, y] : [x, y + step];
      if (u >= 0 && v >= 0 && u < width && v < height) best = which(best, from[v * width + u]);
    }
    return best;
  });
  return { ...plane, data: pass(pass(data, true), false) };
}

// --- the painted person's own colours, under the soft edge too

export function person(picture, mask) {
  const { width, height } = mask;
  const own = extreme(mask, 2 * Math.max(1, even(RIM * height)) + 1, Math.min);
  const known = Float32Array.from(own.data, (value) => (value === 255 ? 1 : 0));
  if (!known.some(Boolean)) return picture;
  const sure = Float32Array.from(picture.data, (value, at) => value * known[Math.floor(at / 3)]);
  const made = Float32Array.from(sure);
  const done = Float32Array.from(known);
  for (const part of BLED) {
    const count = 2 * Math.max(1, even(part * Math.max(width, height))) + 1;
    const flat = new Array(count).fill(1 / count);
    const weights = along(known, width, height, 1, flat);
    if (done.every((value, at) => value || weights[at] <= 1e-4)) continue;
    const sums = along(sure, width, height, 3, flat);
    for (let at = 0; at < done.length; at++) {
      if (done[at] || weights[at] <= 1e-4) continue;
      done[at] = 1;
      for (let c = 0; c < 3; c++) made[at * 3 + c] = sums[at * 3 + c] / weights[at];
    }
  }
  return { ...picture, data: Uint8Array.from(made, (value) => clamp(even(value), 0, 255)) };
}
