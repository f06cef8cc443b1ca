// Draws avatars from their layers. The layers are pictures of the same square: `before` (the photo), and the avatar with the
// backgrounds `transparent`, `keep` (the photo's, painted) and `backdrop`. A colour or a picture as background is drawn behind the
// avatar here, so that a change of the background needs no new painting.

// Draws an avatar with background, shape and size: the counterpart of apply_finish in compositing.py.
export function drawAvatar(canvas, layers, { background, backgroundImage, shape, size }) {
  const context = startDrawing(canvas, shape, size);
  if (background.startsWith("#")) {
    context.fillStyle = background;
    context.fillRect(0, 0, size, size);
  } else if (background === "picture" && backgroundImage) {
    const { width, height } = backgroundImage;
    const side = Math.min(width, height);
    context.drawImage(backgroundImage, (width - side) / 2, (height - side) / 2, side, side, 0, 0, size, size);
  }
  context.drawImage(layers[background] ?? layers.transparent, 0, 0, size, size);
}

export function drawPhoto(canvas, layers, { shape, size }) {
  startDrawing(canvas, shape, size).drawImage(layers.before, 0, 0, size, size);
}

function startDrawing(canvas, shape, size) {
  Object.assign(canvas, { width: size, height: size }); // this clears the canvas
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  if (shape === "circle") {
    context.beginPath();
    context.arc(size / 2, size / 2, size / 2, 0, 2 * Math.PI);
    context.clip();
  }
  return context;
}
