// Places the avatar's frame: the counterpart of framing.py, with the same constants. Lengths are multiples of the distance
// from the eyes to the mouth. A frame { centre, side, degrees } is a rotated square of the photo, in the photo's pixels.

import * as math from "./image_math.js";

const [IDEAL_SIDE, EYE_LINE] = [4.6, 0.44];
// As np.linspace, with the same arithmetic: many edges of candidates are halfway between two pixels, and must be rounded as
// in Python.
const linspace = (low, high, count) => {
  const step = (high - low) / (count - 1);
  return Array.from({ length: count }, (_, i) => (i === count - 1 ? high : low + i * step));
};
const SEARCHES = [ // sides and shifts, relative to the best frame of the search before
  [linspace(1, IDEAL_SIDE, 19).map((side) => side - IDEAL_SIDE), linspace(-1.2, 1.2, 17)],
  [linspace(-0.2, 0.2, 9), linspace(-0.15, 0.15, 9)],
];
const [HEAD_WIDTH, CROWN, CHIN, HEADROOM] = [1.3, 1.3, 1.75, 0.05];
const [CUT_COST, HEAD_COST, HEADROOM_COST, EMPTY_COST, SHIFT_COST, ZOOM_COST] = [6, 4, 1, 1, 4, 0.6];
const [CANVAS_SIDE, CANVAS_LENGTHS] = [168, 7];
const LENGTH = CANVAS_SIDE / CANVAS_LENGTHS;
const MARGIN = CANVAS_SIDE / 2;

// Returns the centre of a face and the distance from its eyes to its mouth, in pixels of the crop with this transform.
export function faceInCrop({ face, transform }) {
  const points = face.points.slice(0, math.MOUTH + 1);
  const centre = [0, 1].map((axis) => points.reduce((sum, point) => sum + point[axis] / points.length, 0));
  return { centre: math.applyTransform(transform, centre), length: math.eyeToMouth(face) * math.hypot(transform) };
}
const MISSING_GROWTH = 2;
const MAX_TILT_DEGREES = 60;
const FADE = 0.14;

// Returns the similarity transform from the photo's pixels to those of a frame.
export function frameTransform({ centre, side, degrees }, sizePx) {
  const [angle, scale] = [(degrees * Math.PI) / 180, sizePx / side];
  const [cos, sin] = [scale * Math.cos(angle), scale * Math.sin(angle)];
  return [
    [cos, sin, sizePx / 2 - cos * centre[0] - sin * centre[1]],
    [-sin, cos, sizePx / 2 + sin * centre[0] - cos * centre[1]],
  ];
}

// Returns the transform from source to target, given the transforms from the photo to each of them.
export const between = (source, target) => math.compose(target, math.invert(source));

// Returns the frame that shows a whole crop, with level eyes.
export function wholeCrop({ transform, inside: { width: side } }) {
  const inverse = math.invert(transform);
  return {
    centre: math.applyTransform(inverse, [side / 2, side / 2]),
    side: side * math.hypot(inverse),
    degrees: (Math.atan2(inverse[1][0], inverse[0][0]) * 180) / Math.PI,
  };
}

// Returns the best frame in the photo's own orientation, given the aligned crop and its person mask, both at any size.
export function uprightFrame(crop, person) {
  const { points } = crop.face;
  const tilt = wholeCrop(crop).degrees;
  const degrees = Math.abs(tilt) <= MAX_TILT_DEGREES ? 0 : math.roundHalfEven(tilt / 90) * 90;
  const eyes = [0, 1].map((axis) => (points[math.RIGHT_EYE][axis] + points[math.LEFT_EYE][axis]) / 2);
  const canvas = { centre: eyes, side: CANVAS_LENGTHS * math.eyeToMouth(crop.face), degrees };
  const toCanvas = frameTransform(canvas, CANVAS_SIDE);
  const onCanvas = (plane) => {
    const scale = plane.width / crop.inside.width;
    const source = crop.transform.map((row) => row.map((value) => value * scale));
    return math.warp(plane, between(source, toCanvas), CANVAS_SIDE, "constant").data.map((value) => (value > 127 ? 1 : 0));
  };
  const mouth = math.applyTransform(toCanvas, points[math.MOUTH]).map((value) => value - CANVAS_SIDE / 2);
  const distance = Math.max(Math.hypot(...mouth), 1e-6);
  const { left, top, side } = search(onCanvas(person), onCanvas(crop.inside), mouth.map((value) => value / distance));
  const centre = math.applyTransform(math.invert(toCanvas), [left + side / 2, top + side / 2]);
  return { centre, side: (side * canvas.side) / CANVAS_SIDE, degrees };
}

function search(person, covered, down) {
  const cost = costFunction(person, covered, down);
  let best = [IDEAL_SIDE, 0, 0]; // side, shift right, shift down
  for (const [sides, shifts] of SEARCHES) {
    const [middle, lowest] = [best, { cost: Infinity }];
    for (const side of sides) {
      for (const right of shifts) {
        for (const below of shifts) {
          const candidate = [side + middle[0], right + middle[1], below + middle[2]];
          const value = cost(candidate);
          if (value < lowest.cost) [lowest.cost, best] = [value, candidate];
        }
      }
    }
  }
  return boxOf(best);
}

// Returns a frame, given as [side, shift right, shift down], in pixels of the canvas.
function boxOf([side, right, below]) {
  const pixels = side * LENGTH;
  const left = MARGIN - pixels / 2 + right * LENGTH;
  const top = MARGIN - EYE_LINE * pixels + below * LENGTH;
  return { left, top, right: left + pixels, bottom: top + pixels, side: left + pixels - left };
}

// Returns the cost function of frames: cut-off lines inside, missing parts of the head, empty area, distance from the ideal.
function costFunction(person, covered, down) {
  const size = { width: CANVAS_SIDE, height: CANVAS_SIDE, channels: 1 };
  const uncovered = { ...size, data: covered.map((value) => 1 - value) };
  const edge = math.dilate(uncovered, 3).data;
  const cut = { ...size, data: person.map((value, i) => value & edge[i]) };
  const sumUncovered = boxSum(math.pad(uncovered, MARGIN));
  const sumCut = boxSum(math.pad(cut, MARGIN), true);

  // The head is a box around the middle of the face, up to the top of the hair, as far as the photo shows it.
  const [x, y] = down.map((value) => MARGIN + (value * LENGTH * (CHIN - CROWN)) / 2);
  const [halfWidth, halfHeight] = [HEAD_WIDTH * LENGTH, ((CHIN + CROWN) * LENGTH) / 2];
  const indexes = [...Array(CANVAS_SIDE).keys()];
  const columns = indexes.filter((column) => indexes.some((row) => covered[row * CANVAS_SIDE + column]));
  const rows = indexes.filter((row) => indexes.some((column) => covered[row * CANVAS_SIDE + column]));
  const middle = indexes.slice(Math.max(0, math.roundHalfEven(x - halfWidth)), math.roundHalfEven(x + halfWidth));
  const hair = indexes.find((row) => middle.some((column) => person[row * CANVAS_SIDE + column]));
  const crown = hair === undefined ? y - halfHeight : Math.max(Math.min(hair, y - halfHeight), rows[0]);
  const isCrownCut = hair <= rows[0] + 2;
  const [headLeft, headRight] = [Math.max(x - halfWidth, columns[0]), Math.min(x + halfWidth, columns.at(-1))];
  const headBottom = Math.min(y + halfHeight, rows.at(-1));

  return (candidate) => {
    const box = boxOf(candidate);
    const { left, top, right, bottom, side } = box;
    const missing = (Math.max(left - headLeft, 0) + Math.max(top - crown, 0)
      + Math.max(headRight - right, 0) + Math.max(headBottom - bottom, 0)) / side;
    const headroom = isCrownCut ? 0 : Math.max(top + HEADROOM * side - crown, 0) / side;
    const shift = (candidate[1] ** 2 + candidate[2] ** 2) / candidate[0] ** 2;
    return (CUT_COST * sumCut(box)) / side + (EMPTY_COST * sumUncovered(box)) / side ** 2
      + HEAD_COST * (missing + (MISSING_GROWTH * missing) ** 2) + HEADROOM_COST * headroom
      + SHIFT_COST * shift + ZOOM_COST * Math.log(IDEAL_SIDE / candidate[0]) ** 2;
  };
}

// Returns a function that sums a canvas with margins over a box, by an integral image. Margins may be counted as 0.
function boxSum({ width, data }, ignoreMargin = false) {
  const stride = width + 1;
  const table = new Int32Array(stride * stride);
  const isInner = (i) => !ignoreMargin || (i >= MARGIN && i < MARGIN + CANVAS_SIDE);
  for (let y = 0; y < width; y++) {
    for (let x = 0, sum = 0; x < width; x++) {
      if (isInner(x) && isInner(y)) sum += data[y * width + x];
      table[(y + 1) * stride + x + 1] = table[y * stride + x + 1] + sum;
    }
  }
  const at = (value) => math.clamp(math.roundHalfEven(value), -MARGIN, CANVAS_SIDE + MARGIN) + MARGIN;
  return ({ left, top, right, bottom }) => {
    const [x0, y0, x1, y1] = [at(left), at(top) * stride, at(right), at(bottom) * stride];
    return table[y1 + x1] - table[y0 + x1] - table[y1 + x0] + table[y0 + x0];
  };
}

// Fades a person out where the painting ends inside the frame; `covered` is 255 where the painting covers the frame.
export function fadeCuts(mask, covered) {
  const size = mask.width;
  if (math.allEqual(covered.data, 255)) return mask;
  const solid = math.mapPlane(mask, (value) => (value > 127 ? 1 : 0));
  const near = math.dilate(solid, Math.max(3, math.roundHalfEven(0.01 * size) | 1));
  const isCut = math.mapPlane(covered, (value) => (value < 255 ? 1 : 0));
  const ends = math.minimum(near, isCut);
  if (math.allEqual(ends.data, 0)) return mask;
  const distances = math.distanceTransform(ends, Boolean, math.CHAMFER_5);
  const smooth = (ramp) => ramp * ramp * (3 - 2 * ramp);
  return { ...mask, data: math.mapTo(Uint8ClampedArray, mask.data, (value, i) => value * smooth(Math.min(distances[i] / (FADE * size), 1))) };
}
