// Paints a soft backdrop in the avatar's own colours: the counterpart of backdrop.py, with the same constants.

import * as math from "./image_math.js";

const RENDER_SIDE = 128;
const [CHROMA, MAX_CHROMA, CONTRAST] = [0.55, 16, 24];
const [LIGHTEST, DARKEST] = [84, 26];
const [GRADIENT, GLOW, BRUSH] = [12, 9, 2.6];
const WAVES = [[1.3, 2.1, 0.15], [-2.2, 1.4, 0.62], [3.7, 2.9, 0.33], [-4.6, 6.1, 0.81], [7.9, 5.2, 0.47]];

export function paintBackdrop(person, mask, side) {
  const count = RENDER_SIDE * RENDER_SIDE;
  const lab = math.toLab(math.toSide(person, RENDER_SIDE));
  const weights = math.mapTo(Float32Array, math.toSide(mask, RENDER_SIDE).data, (value) => value / 255);
  const blurred = math.boxBlur(weights, RENDER_SIDE, RENDER_SIDE, 1, 9);
  const outline = weights.map((value, i) => (i < 0.75 * count && blurred[i] < 0.95 ? value : 0));
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  const mean = (channel, over) => over.reduce((total, weight, i) => total + weight * lab[3 * i + channel], 0) / Math.max(sum(over), 1e-6);
  const lightness = sum(outline) > 1 ? mean(0, outline) : 50;
  const chroma = [1, 2].map((channel) => CHROMA * mean(channel, weights));
  const limit = Math.min(1, MAX_CHROMA / Math.max(Math.hypot(...chroma), 1e-6));
  const darker = lightness - CONTRAST;
  const middle = math.clamp(darker >= DARKEST && lightness > 50 ? darker : lightness + CONTRAST, DARKEST, LIGHTEST);

  const strokes = new Float32Array(count); // plane waves; each shifts the phase of the next
  for (let i = 0; i < count; i++) {
    const [right, down] = [(i % RENDER_SIDE) / (RENDER_SIDE - 1), Math.floor(i / RENDER_SIDE) / (RENDER_SIDE - 1)];
    let bend = 0;
    for (const [across, along, phase] of WAVES) {
      bend = Math.sin(2 * Math.PI * (across * right + along * down + phase) + 1.7 * bend);
      strokes[i] += bend / WAVES.length;
    }
  }
  const small = new Float32Array(3 * count);
  for (let i = 0; i < count; i++) {
    const [right, down] = [(i % RENDER_SIDE) / (RENDER_SIDE - 1), Math.floor(i / RENDER_SIDE) / (RENDER_SIDE - 1)];
    const glow = Math.exp(-((right - 0.5) ** 2 + (down - 0.42) ** 2) / 0.12);
    const tint = 0.35 * BRUSH * strokes[(i - Math.floor(RENDER_SIDE / 3) * RENDER_SIDE + count) % count];
    const [a, b] = chroma.map((value) => value * limit + tint);
    small.set(math.labToRgb(middle + GRADIENT * (0.5 - down) + GLOW * (glow - 0.5) + BRUSH * strokes[i], a, b), 3 * i);
  }
  const { data } = math.resize({ width: RENDER_SIDE, height: RENDER_SIDE, channels: 3, data: small }, side, side, "cubic");
  return { width: side, height: side, channels: 3, data: new Uint8ClampedArray(data) };
}
