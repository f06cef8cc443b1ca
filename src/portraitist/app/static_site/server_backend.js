// The page's backend for `portraitist serve`: the server paints. All URLs are relative, so that the page works under any path.

const UNREACHABLE = "The server does not respond. Is it still running?";

export const PRIVACY_NOTE = "Pictures are painted on the server that this page came from, and are not stored there.";

export async function open() {}

export async function paint(file, onProgress) {
  const ticket = crypto.randomUUID?.() ?? String(Math.random()).slice(2);
  const polling = setInterval(async () => {
    const { position } = await fetch(`position/${ticket}`).then((response) => response.json()).catch(() => ({}));
    if (position) onProgress(`You are number ${position} in the queue.`);
  }, 500);
  try {
    const form = new FormData();
    form.append("selfie", file);
    const response = await post("faces", form, { "X-Ticket": ticket });
    const { faces, left_out: leftOut } = await response.json();
    return { faces: await Promise.all(faces.map(decodeFace)), leftOut };
  } finally {
    clearInterval(polling);
  }
}

// Returns the file that the command line would write.
export async function finish(file, faceNumber, options) {
  const form = new FormData();
  form.append("selfie", file);
  form.append("face", faceNumber);
  form.append("shape", options.shape);
  if (options.size) form.append("size", options.size);
  form.append("background", options.background === "picture" ? options.backgroundFile : options.background);
  return (await post("avatar", form)).blob();
}

async function post(url, form, headers = {}) {
  const response = await fetch(url, { method: "POST", body: form, headers }).catch(() => {
    throw new Error(UNREACHABLE);
  });
  if (!response.ok) {
    const { error } = await response.json().catch(() => ({}));
    throw new Error(error ?? `The server responded with status ${response.status}.`);
  }
  return response;
}

async function decodeFace(face) {
  if (face.error) return face;
  const images = {};
  for (const name of ["crop", "avatar", "person"]) {
    const image = new Image();
    image.src = face[name];
    await image.decode();
    images[name] = image;
  }
  return images;
}
