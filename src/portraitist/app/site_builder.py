"""The page that paints on the visitor's own device: a folder for any web server, which asks nothing of any other.

onnxruntime-web comes from the npm registry when the folder is made, checked by its hash, and lies in it from then on.
"""

import base64
import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import onnx

from portraitist.app.avatar import MODEL_FILE, ModelError, read_metadata
from portraitist.crop.detector import FULL_RANGE, SHORT_RANGE
from portraitist.export.tflite_to_onnx import convert
from portraitist.mask.segmenter import REFINER_MODEL, SELFIE_MODEL

SITE = Path(__file__).with_name("static_site")
PAGE = ("index.html", "style.css", "page.js", "maths.js", "painter.js")
RUNTIME = "onnxruntime-web@1.30.0"
RUNTIME_SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
RUNTIME_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
RUNTIME_NOTICE = f"{RUNTIME} of the npm registry, unchanged. Copyright Microsoft Corporation, MIT License: \
https://github.com/microsoft/onnxruntime/blob/main/LICENSE\n"
MOST_MB = 10.0  # of all models together, as a visitor loads them
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; media-src 'self' blob:; base-uri 'none'; form-action 'none'"
)


class SiteBuildError(RuntimeError):
    """The page cannot be made; nothing was written."""


def build_site(model: Path, out: Path, runtime: Path | None = None) -> float:
    """Write the page of an exported model into the folder out; the megabytes of its models.

    runtime is the package's .tgz, if it is not to be asked of npm.

    Raises:
        StaticError: There is no such model, its parts are too large or none a browser can run, or the runtime is not
            what it should be.
    """
    told, models = _models(model / MODEL_FILE if model.is_dir() else model)
    megabytes = sum(map(len, models.values())) / 1e6
    if megabytes > MOST_MB:
        smaller = "an .int8.onnx or a generator of less width is smaller"
        raise SiteBuildError(f"{model}: {megabytes:.1f} MB of models, {MOST_MB:g} are allowed; {smaller}")
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "page"
        (made / "models").mkdir(parents=True)
        _unpack(runtime or _packed(Path(folder)), made / "ort")
        for name in PAGE:
            shutil.copyfile(SITE / name, made / name)
        shutil.copyfile(SITE / "on_device.js", made / "backend.js")
        page = (made / "index.html").read_text(encoding="utf-8")
        policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        (made / "index.html").write_text(page.replace("<title>", f"{policy}\n<title>"), encoding="utf-8")
        (made / "model.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
        for name, data in models.items():
            (made / "models" / f"{name}.onnx").write_bytes(data)
        shutil.copytree(made, out, dirs_exist_ok=True)
    return megabytes


def _models(path: Path) -> tuple[dict[str, object], dict[str, bytes]]:
    """What the page is told, and its models: the generator without its metadata, detector and segmenter as ONNX."""
    try:
        model = onnx.load(path)
        meta = {entry.key: entry.value for entry in model.metadata_props}
    except Exception as error:  # onnx raises protobuf's, and OSError
        raise SiteBuildError(f"{path}: not a model that stage export left") from error
    try:
        parts, crop, mask = read_metadata(path, meta)
    except ModelError as error:
        raise SiteBuildError(str(error)) from error
    if SELFIE_MODEL not in parts:
        raise SiteBuildError(f"{path}: mask.model is {mask.model}, which no browser runs; refined and selfie are")
    del model.metadata_props[:]
    models = {"generator": model.SerializeToString(deterministic=True)}
    try:
        for name in (FULL_RANGE.file, SHORT_RANGE.file, SELFIE_MODEL):
            models[Path(name).stem] = convert(parts[name]).SerializeToString(deterministic=True)
    except Exception as error:  # broken bytes are met by flatbuffers, numpy and onnx, each with errors of its own
        raise SiteBuildError(f"{path}: its detector or its segmenter is broken") from error
    if REFINER_MODEL in parts:
        models[Path(REFINER_MODEL).stem] = parts[REFINER_MODEL]
    detectors = [
        {"name": Path(one.file).stem, "side": one.side, "anchors": one.anchors, "outputs": one.outputs}
        for one in (FULL_RANGE, SHORT_RANGE)
    ]
    return {
        "crop": crop.model_dump(),
        "mask": mask.model_dump(),
        "nets": sorted(models),
        "detectors": detectors,
    }, models


def _packed(folder: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise SiteBuildError(f"npm is missing, which brings {RUNTIME}; or give its .tgz by --runtime")
    command = [npm, "pack", RUNTIME, "--silent", "--pack-destination", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = list(folder.glob("*.tgz"))
    if done.returncode or len(found) != 1:
        raise SiteBuildError(f"npm could not bring {RUNTIME}: {done.stderr.strip()[-300:] or 'nothing came'}")
    return found[0]


def _unpack(package: Path, dest: Path) -> None:
    try:
        found = base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode("ascii")
    except OSError as error:
        raise SiteBuildError(f"{package}: {error.strerror}") from error
    if found != RUNTIME_SHA512:
        raise SiteBuildError(f"{package.name}: sha512 {RUNTIME_SHA512} expected, found {found}")
    dest.mkdir()
    with tarfile.open(package) as archive:
        for name in RUNTIME_FILES:
            member = archive.extractfile(f"package/dist/{name}")
            assert member is not None  # the hash says what is in it
            (dest / name).write_bytes(member.read())
    (dest / "NOTICE").write_text(RUNTIME_NOTICE, encoding="utf-8")
