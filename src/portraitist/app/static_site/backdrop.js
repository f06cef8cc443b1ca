// Paints a soft backdrop in the colour of the photo's background: the counterpart of backdrop.py, with the same constants.

import * as math from "./image_math.js";

const RENDER_SIDE = 128;
const [REACH, ENOUGH_PIXELS, MAX_PHOTO_CHROMA, PHOTO_LIGHTNESS] = [0.48, 100, 20, [14, 90]];
const [CHROMA, MAX_CHROMA, CONTRAST, LIGHTNESS] = [0.55, 16, 24, [26, 84]];
const [GRADIENT, GLOW, BRUSH] = [12, 9, 2.6];
const WAVES = [[1.3, 2.1, 0.15], [-2.2, 1.4, 0.62], [3.7, 2.9, 0.33], [-4.6, 6.1, 0.81], [7.9, 5.2, 0.47]];

const COUNT = RENDER_SIDE * RENDER_SIDE;
const STROKES = new Float32Array(COUNT); // plane waves; each shifts the phase of the next
const LIGHT = new Float32Array(COUNT); // the lightness of each pixel, relative to the middle
for (let i = 0; i < COUNT; i++) {
  const [right, down] = [(i % RENDER_SIDE) / (RENDER_SIDE - 1), Math.floor(i / RENDER_SIDE) / (RENDER_SIDE - 1)];
  let bend = 0;
  for (const [across, along, phase] of WAVES) {
    bend = Math.sin(2 * Math.PI * (across * right + along * down + phase) + 1.7 * bend);
    STROKES[i] += bend / WAVES.length;
  }
  const glow = Math.exp(-((right - 0.5) ** 2 + (down - 0.42) ** 2) / 0.12);
  LIGHT[i] = GRADIENT * (0.5 - down) + GLOW * (glow - 0.5) + BRUSH * STROKES[i];
}

const sum = (values) => values.reduce((total, value) => total + value, 0);
const mean = (lab, channel, weights) =>
  weights.reduce((total, weight, i) => total + weight * lab[3 * i + channel], 0) / Math.max(sum(weights), 1e-6);
const limited = (colour, maxChroma) => colour.map((value) => value * Math.min(1, maxChroma / Math.max(Math.hypot(...colour), 1e-6)));

// Returns lightness, a and b of a photo: means with a weight for each pixel, within the limits for a backdrop.
function photoColour(photo, weights) {
  const lab = math.toLab(math.toSide(photo, RENDER_SIDE));
  const [lightness, ...colour] = [0, 1, 2].map((channel) => mean(lab, channel, weights));
  return [math.clamp(lightness, ...PHOTO_LIGHTNESS), ...limited(colour, MAX_PHOTO_CHROMA)];
}

// Returns lightness, a and b of a backdrop that contrasts with the outline of the person's upper part.
function contrastingColour(person, weights) {
  const lab = math.toLab(math.toSide(person, RENDER_SIDE));
  const blurred = math.boxBlur(weights, RENDER_SIDE, RENDER_SIDE, 1, 9);
  const outline = weights.map((value, i) => (i < 0.75 * COUNT && blurred[i] < 0.95 ? value : 0));
  const lightness = sum(outline) > 1 ? mean(lab, 0, outline) : 50;
  const darker = lightness - CONTRAST;
  const middle = darker >= LIGHTNESS[0] && lightness > 50 ? darker : lightness + CONTRAST;
  return [math.clamp(middle, ...LIGHTNESS), ...limited([1, 2].map((c) => CHROMA * mean(lab, c, weights)), MAX_CHROMA)];
}

export function paintBackdrop(person, mask, photo, background, side) {
  const weights = math.mapBytes(Float32Array, math.toSide(mask, RENDER_SIDE).data, (value) => value / 255);
  const shown = math.erode(math.toSide(background, RENDER_SIDE), 5).data;
  const near = math.boxBlur(weights, RENDER_SIDE, RENDER_SIDE, 1, Math.round(REACH * RENDER_SIDE) | 1)
    .map((value, i) => value * (shown[i] / 255) ** 2);
  const share = Math.min(sum(near) / ENOUGH_PIXELS, 1);
  const contrasting = contrastingColour(person, weights);
  const [middle, ...colour] = photoColour(photo, near).map((value, i) => share * value + (1 - share) * contrasting[i]);
  const colours = new Float32Array(3 * COUNT);
  for (let i = 0; i < COUNT; i++) {
    const tint = 0.35 * BRUSH * STROKES[(i - Math.floor(RENDER_SIDE / 3) * RENDER_SIDE + COUNT) % COUNT];
    math.setRgb(colours, 3 * i, middle + LIGHT[i], colour[0] + tint, colour[1] + tint);
  }
  const { data } = math.resize({ width: RENDER_SIDE, height: RENDER_SIDE, channels: 3, data: colours }, side, side, "cubic");
  return { width: side, height: side, channels: 3, data: new Uint8ClampedArray(data) };
}
