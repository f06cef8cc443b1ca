// The page's backend for the static site: a worker paints on this device, and the picture never leaves it.

export const PRIVACY_NOTE = "Your picture is painted on this device and never leaves it. The page also works offline.";

const worker = new Worker(new URL("paint_worker.js", import.meta.url), { type: "module" });
const pending = new Map();
let count = 0;

worker.addEventListener("message", ({ data: { id, result, error } }) => {
  const [resolve, reject] = pending.get(id);
  pending.delete(id);
  if (error) reject(new Error(error));
  else resolve(result);
});
worker.addEventListener("error", (event) => {
  const reason = event.message ?? "module workers are not supported";
  for (const [, reject] of pending.values()) reject(new Error(`This browser cannot paint: ${reason}.`));
  pending.clear();
});

const call = (task, file) => new Promise((resolve, reject) => {
  pending.set(++count, [resolve, reject]);
  worker.postMessage({ id: count, task, file });
});

export async function open(onProgress) {
  onProgress("Loading the model…");
  await call("open");
}

export async function paint(file) {
  const { faces, leftOut } = await call("paint", file);
  return { faces: await Promise.all(faces.map(toBitmaps)), leftOut };
}

export const finish = async () => null; // the page downloads its own canvas

async function toBitmaps(face) {
  if (face.error) return face;
  const bitmaps = {};
  for (const name of ["crop", "avatar", "person"]) bitmaps[name] = await createImageBitmap(face[name]);
  return bitmaps;
}
