// Keeps dark areas of a photo dark in its painting: the counterpart of shadows.py, with its constants.

import * as math from "./image_math.js";

const [BLACK, DARK, MARGIN] = [16, 48, 8];
const [GRID, SIGMA] = [128, 0.012];

// Darkens the areas of a painted person that are nearly black in the photo, but not in the painting.
export function withShadows(painted, photo, mask) {
  const side = mask.width;
  const grid = Math.min(GRID, side);
  const weights = math.mapBytes(Float32Array, math.resize(mask, grid, grid, "area").data, (value) => value / 255 + 1e-3);
  const blur = (values) => math.convolve(values, grid, grid, 1, math.gaussianKernel(SIGMA * grid, 8));
  const total = blur(weights);
  const brightnessOf = (picture) => {
    const grey = math.resize(math.toGrey(picture), grid, grid, "area").data;
    const means = blur(math.mapTo(Float32Array, grey, (value, i) => value * weights[i]));
    return math.mapTo(Float32Array, means, (value, i) => value / total[i]);
  };
  const original = brightnessOf(photo);
  if (original.every((value) => value >= DARK)) return painted;
  const brightness = brightnessOf(painted);
  const factors = math.mapTo(Float32Array, original, (value, i) => {
    const strength = math.clamp((DARK - value) / (DARK - BLACK), 0, 1);
    return 1 - strength * (1 - math.clamp((value + MARGIN) / Math.max(brightness[i], 1), 0, 1));
  });
  if (factors.every((factor) => factor === 1)) return painted;
  const enlarged = math.resize({ width: grid, height: grid, channels: 1, data: factors }, side, side, "linear").data;
  const result = Uint8ClampedArray.from(painted.data);
  for (let i = 0, at = 0; i < mask.data.length; i++, at += 3) {
    if (!mask.data[i] || enlarged[i] === 1) continue;
    for (let c = at; c < at + 3; c++) result[c] *= enlarged[i];
  }
  return { ...painted, data: result };
}
