// The page's backend where `portraitist serve` paints: the picture goes there, and comes back painted.

const NOT_THERE = "The server does not answer; is it still running?";

export const PLACE = "Pictures are painted on the server that this page came from, and are not kept there.";

export async function open() {}

export async function paint(file, told) {
  const ticket = crypto.randomUUID?.() ?? String(Math.random()).slice(2);
  const asking = setInterval(async () => {
    const { place } = await fetch(`/place/${ticket}`).then((answer) => answer.json()).catch(() => ({}));
    if (place) told(`You are number ${place} in line.`);
  }, 500);
  try {
    const form = new FormData();
    form.append("selfie", file);
    const answer = await send("/faces", form, { "X-Ticket": ticket });
    const { faces, left_out: leftOut } = await answer.json();
    return { faces: await Promise.all(faces.map(decoded)), leftOut };
  } finally {
    clearInterval(asking);
  }
}

// The very file that the command line writes.
export async function finish(file, number, look) {
  const form = new FormData();
  form.append("selfie", file);
  form.append("face", number);
  form.append("shape", look.shape);
  if (look.size) form.append("size", look.size);
  form.append("background", look.background === "picture" ? look.file : look.background);
  return (await send("/avatar", form)).blob();
}

async function send(address, form, headers = {}) {
  const answer = await fetch(address, { method: "POST", body: form, headers }).catch(() => {
    throw new Error(NOT_THERE);
  });
  if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).error ?? `The server said ${answer.status}.`);
  return answer;
}

async function decoded(face) {
  if (face.fault) return face;
  const pictures = {};
  for (const name of ["before", "painted", "person"]) {
    const image = new Image();
    image.src = face[name];
    await image.decode();
    pictures[name] = image;
  }
  return pictures;
}
