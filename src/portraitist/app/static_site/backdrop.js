// Paints a soft backdrop in the colour of the photo's background: the counterpart of backdrop.py, with the same constants.

import * as math from "./image_math.js";

const RENDER_SIDE = 128;
const [REACH, MIN_PIXELS, MAX_PHOTO_CHROMA, PHOTO_LIGHTNESS] = [0.48, 20, 20, [14, 90]];
const [CHROMA, MAX_CHROMA, CONTRAST, LIGHTNESS] = [0.55, 16, 24, [26, 84]];
const [GRADIENT, GLOW, BRUSH] = [12, 9, 2.6];
const WAVES = [[1.3, 2.1, 0.15], [-2.2, 1.4, 0.62], [3.7, 2.9, 0.33], [-4.6, 6.1, 0.81], [7.9, 5.2, 0.47]];

const COUNT = RENDER_SIDE * RENDER_SIDE;
const sum = (values) => values.reduce((total, value) => total + value, 0);
const mean = (lab, channel, weights) =>
  weights.reduce((total, weight, i) => total + weight * lab[3 * i + channel], 0) / Math.max(sum(weights), 1e-6);
const limited = (colour, maxChroma) => colour.map((value) => value * Math.min(1, maxChroma / Math.max(Math.hypot(...colour), 1e-6)));

// Returns the lightness and the a and b of the photo's background near the person; null if it shows too little background.
function photoColour(photo, mask, weights) {
  const window = Math.round(REACH * RENDER_SIDE) | 1;
  const blurred = math.boxBlur(weights, RENDER_SIDE, RENDER_SIDE, 1, window);
  const grown = math.dilate(mask, 5).data;
  const near = blurred.map((value, i) => value * (1 - grown[i] / 255) ** 2);
  if (sum(near) < MIN_PIXELS) return null;
  const lab = math.toLab(math.toSide(photo, RENDER_SIDE));
  return [math.clamp(mean(lab, 0, near), ...PHOTO_LIGHTNESS), limited([1, 2].map((c) => mean(lab, c, near)), MAX_PHOTO_CHROMA)];
}

// Returns the lightness and the a and b of a backdrop that contrasts with the outline of the person's upper part.
function contrastingColour(person, weights) {
  const lab = math.toLab(math.toSide(person, RENDER_SIDE));
  const blurred = math.boxBlur(weights, RENDER_SIDE, RENDER_SIDE, 1, 9);
  const outline = weights.map((value, i) => (i < 0.75 * COUNT && blurred[i] < 0.95 ? value : 0));
  const lightness = sum(outline) > 1 ? mean(lab, 0, outline) : 50;
  const darker = lightness - CONTRAST;
  const middle = darker >= LIGHTNESS[0] && lightness > 50 ? darker : lightness + CONTRAST;
  return [math.clamp(middle, ...LIGHTNESS), limited([1, 2].map((c) => CHROMA * mean(lab, c, weights)), MAX_CHROMA)];
}

// `photo` is null if its background is transparent.
export function paintBackdrop(person, mask, photo, side) {
  const small = math.toSide(mask, RENDER_SIDE);
  const weights = math.mapTo(Float32Array, small.data, (value) => value / 255);
  const [middle, colour] = (photo && photoColour(photo, small, weights)) || contrastingColour(person, weights);
  const strokes = new Float32Array(COUNT); // plane waves; each shifts the phase of the next
  for (let i = 0; i < COUNT; i++) {
    const [right, down] = [(i % RENDER_SIDE) / (RENDER_SIDE - 1), Math.floor(i / RENDER_SIDE) / (RENDER_SIDE - 1)];
    let bend = 0;
    for (const [across, along, phase] of WAVES) {
      bend = Math.sin(2 * Math.PI * (across * right + along * down + phase) + 1.7 * bend);
      strokes[i] += bend / WAVES.length;
    }
  }
  const colours = new Float32Array(3 * COUNT);
  for (let i = 0; i < COUNT; i++) {
    const [right, down] = [(i % RENDER_SIDE) / (RENDER_SIDE - 1), Math.floor(i / RENDER_SIDE) / (RENDER_SIDE - 1)];
    const glow = Math.exp(-((right - 0.5) ** 2 + (down - 0.42) ** 2) / 0.12);
    const tint = 0.35 * BRUSH * strokes[(i - Math.floor(RENDER_SIDE / 3) * RENDER_SIDE + COUNT) % COUNT];
    const [a, b] = colour.map((value) => value + tint);
    colours.set(math.labToRgb(middle + GRADIENT * (0.5 - down) + GLOW * (glow - 0.5) + BRUSH * strokes[i], a, b), 3 * i);
  }
  const { data } = math.resize({ width: RENDER_SIDE, height: RENDER_SIDE, channels: 3, data: colours }, side, side, "cubic");
  return { width: side, height: side, channels: 3, data: new Uint8ClampedArray(data) };
}
