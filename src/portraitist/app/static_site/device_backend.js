// The page's backend of the static page: a worker paints on this device, and the picture goes nowhere.

export const PLACE = "Your picture is painted on this device. It is sent nowhere; the page works with the network cut off.";

const worker = new Worker(new URL("painter.js", import.meta.url), { type: "module" });
const waiting = new Map();
let count = 0;

worker.addEventListener("message", ({ data: { number, made, fault } }) => {
  const [done, failed] = waiting.get(number);
  waiting.delete(number);
  if (fault) failed(new Error(fault));
  else done(made);
});
worker.addEventListener("error", (event) => {
  for (const [, failed] of waiting.values()) failed(new Error(`This browser cannot paint: ${event.message ?? "no workers"}`));
  waiting.clear();
});

const ask = (what, told) => new Promise((done, failed) => {
  waiting.set(++count, [done, failed]);
  worker.postMessage({ number: count, what, told });
});

export async function open(told) {
  told("Loading the model…");
  await ask("open");
}

export async function paint(file) {
  const { faces, leftOut } = await ask("paint", file);
  return { faces: await Promise.all(faces.map(shown)), leftOut };
}

export const finish = async () => null; // what the page has drawn is the avatar

async function shown(face) {
  if (face.fault) return face;
  const pictures = {};
  for (const name of ["before", "painted", "person"]) pictures[name] = await createImageBitmap(face[name]);
  return pictures;
}
