"""Build the static site, a folder for any web server, whose page paints on the visitor's own device.

During the build, onnxruntime-web is downloaded from the npm registry and verified by its hash. The site itself loads
nothing from other hosts. Its scripts end in .js, not .mjs, so that nginx's default configuration serves them with the
right type. All addresses are relative, so that the folder works under any path.
"""

import base64
import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import onnx

from portraitist.app.avatar import Portraitist
from portraitist.app.model_file import (
    EXAMPLE_GENERATOR,
    MODEL_FILE,
    ModelError,
    read_metadata,
    remedy,
    verify_checksum,
)
from portraitist.app.page_files import StylePreviews, data_uri, page_files
from portraitist.app.styles import StyleError, predictor_path
from portraitist.crop.detector import FULL_RANGE, SHORT_RANGE
from portraitist.export.tflite_to_onnx import convert
from portraitist.mask.segmenter import REFINER_MODEL, SELFIE_MODEL

RUNTIME = "onnxruntime-web@1.30.0"
RUNTIME_SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
RUNTIME_FILES = {  # name in the npm package: name in the site; only the live camera loads the files for WebGPU
    "ort.wasm.min.mjs": "ort.wasm.min.js",
    "ort-wasm-simd-threaded.mjs": "ort-wasm-simd-threaded.js",
    "ort-wasm-simd-threaded.wasm": "ort-wasm-simd-threaded.wasm",
    "ort.webgpu.min.mjs": "ort.webgpu.min.js",
    "ort-wasm-simd-threaded.asyncify.mjs": "ort-wasm-simd-threaded.asyncify.js",
    "ort-wasm-simd-threaded.asyncify.wasm": "ort-wasm-simd-threaded.asyncify.wasm",
}
RUNTIME_NOTICE = f"{RUNTIME} from the npm registry; .mjs files are renamed to .js, contents unchanged. Copyright \
Microsoft Corporation, MIT License: https://github.com/microsoft/onnxruntime/blob/main/LICENSE\n"
PREDICTOR_NAME = "style_predictor"  # the same name is in networks.js
MAX_MODELS_MB = 10.0  # total size of the networks, which every visitor downloads, in units of 10**6 bytes
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; media-src 'self' blob:; base-uri 'none'; form-action 'none'"
)


class SiteBuildError(RuntimeError):
    """The site cannot be built; nothing was written."""


def build_site(model: Path, out: Path, runtime: Path | None = None) -> float:
    """Write the static site of an exported model into the folder `out`.

    Args:
        model: an exported model: a folder or a file.
        out: the output folder; existing files with the same names are overwritten.
        runtime: the .tgz of onnxruntime-web, for building without npm.

    Returns:
        The total size of the site's networks (generators, face detectors, segmenters and style predictor), in units of
        10**6 bytes.

    Raises:
        SiteBuildError: the model is missing, damaged, too large, or cannot run in a browser; or onnxruntime-web cannot
            be downloaded, or has a wrong hash.
    """
    config, models = _convert_models(model / MODEL_FILE if model.is_dir() else model)
    megabytes = sum(map(len, models.values())) / 1e6
    if megabytes > MAX_MODELS_MB:
        hint = "use portraitist.int8.onnx, or train with a smaller generator.base_channels"
        found = f"the networks have {megabytes:.1f} MB in total"
        raise SiteBuildError(f"{model}: {found}; at most {MAX_MODELS_MB:g} MB are allowed; {hint}")
    vectors = config["styles"]
    try:
        portraitist = Portraitist(model, threads=1)
        portraitist.check()
        previews = StylePreviews(portraitist)
        cards = [{"name": name, "preview": data_uri(previews[name])} for name in portraitist.style_names]
    except ModelError as error:
        raise SiteBuildError(str(error)) from error
    config["styles"] = [{**card, "vector": vectors.get(card["name"])} for card in cards]
    with tempfile.TemporaryDirectory() as name:
        site = Path(name) / "page"
        (site / "models").mkdir(parents=True)
        _unpack_runtime(runtime or _download_runtime(Path(name)), site / "ort")
        for file, source in page_files("device_backend.js").items():
            shutil.copyfile(source, site / file)
        page = (site / "index.html").read_text(encoding="utf-8")
        policy = f'<meta http-equiv="Content-Security-Policy" content="{CONTENT_SECURITY_POLICY}">'
        (site / "index.html").write_text(page.replace("<title>", f"{policy}\n<title>"), encoding="utf-8")
        (site / "model.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        for network, data in models.items():
            (site / "models" / f"{network}.onnx").write_bytes(data)
        shutil.copytree(site, out, dirs_exist_ok=True)
    return megabytes


def _convert_models(path: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the page's configuration, and a dictionary from the name of each network to its ONNX file as bytes."""
    try:
        data = path.read_bytes()
        verify_checksum(path, data)
        model = onnx.load_from_string(data)
        entries = {entry.key: entry.value for entry in model.metadata_props}
        parts, crop, mask, styles = read_metadata(path, entries)
    except ModelError as error:
        raise SiteBuildError(str(error)) from error
    except OSError as error:
        raise SiteBuildError(f"{path}: {error.strerror}") from error
    except Exception as error:  # protobuf's exceptions
        raise SiteBuildError(f"{path}: not an exported model, or damaged; {remedy(path)}") from error
    if SELFIE_MODEL not in parts:
        raise SiteBuildError(
            f"{path}: this model was exported with mask.model={mask.model}, which browsers cannot run; set mask.model "
            "to refined or selfie in params.yaml, and export again with `dvc repro export`"
        )
    generators = {"generator": model}
    try:
        if styles and EXAMPLE_GENERATOR in parts:
            generators[Path(EXAMPLE_GENERATOR).stem] = onnx.load_from_string(parts[EXAMPLE_GENERATOR])
    except Exception as error:  # protobuf's exceptions
        raise SiteBuildError(f"{path}: {EXAMPLE_GENERATOR} in `parts` is damaged; export the model again") from error
    for graph in generators.values():
        del graph.metadata_props[:]
    models = {name: graph.SerializeToString(deterministic=True) for name, graph in generators.items()}
    try:
        for name in (FULL_RANGE.file, SHORT_RANGE.file, SELFIE_MODEL):
            models[Path(name).stem] = convert(parts[name]).SerializeToString(deterministic=True)
    except Exception as error:  # flatbuffers, numpy and onnx raise exceptions of many types
        raise SiteBuildError(
            f"{path}: the face detector or the segmenter in the model is damaged; export the model again"
        ) from error
    if REFINER_MODEL in parts:
        models[Path(REFINER_MODEL).stem] = parts[REFINER_MODEL]
    if styles:
        try:
            models[PREDICTOR_NAME] = predictor_path().read_bytes()
        except StyleError as error:
            raise SiteBuildError(str(error)) from error
    detectors = [
        {"name": Path(spec.file).stem, "side": spec.side, "anchors": spec.anchors, "outputs": spec.outputs}
        for spec in (FULL_RANGE, SHORT_RANGE)
    ]
    return {
        "crop": crop.model_dump(),
        "mask": mask.model_dump(),
        "networks": sorted(models),
        "detectors": detectors,
        "styles": {name: vector.tolist() for name, vector in styles.items()},
        "cpu_nodes": {name: nodes_without_webgpu(graph) for name, graph in generators.items()},
    }, models


def nodes_without_webgpu(model: onnx.ModelProto) -> list[str]:
    """Return the names of the nodes that onnxruntime-web cannot run on WebGPU: `Resize` with antialiasing."""
    return [
        node.name
        for node in model.graph.node
        if node.op_type == "Resize" and any(each.name == "antialias" and each.i for each in node.attribute)
    ]


def _download_runtime(folder: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise SiteBuildError(f"npm is needed to download {RUNTIME}; install it, or pass the .tgz with --runtime")
    command = [npm, "pack", RUNTIME, "--silent", "--pack-destination", str(folder)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    packages = list(folder.glob("*.tgz"))
    if process.returncode or len(packages) != 1:
        reason = process.stderr.strip()[-300:] or "no output"
        raise SiteBuildError(f"npm could not download {RUNTIME}: {reason}")
    return packages[0]


def _unpack_runtime(package: Path, folder: Path) -> None:
    try:
        digest = base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode("ascii")
    except OSError as error:
        raise SiteBuildError(f"{package}: {error.strerror}") from error
    if digest != RUNTIME_SHA512:
        raise SiteBuildError(f"{package.name}: SHA-512 is {digest}; expected {RUNTIME_SHA512} for {RUNTIME}")
    folder.mkdir()
    with tarfile.open(package) as archive:
        for source, target in RUNTIME_FILES.items():
            member = archive.extractfile(f"package/dist/{source}")
            assert member is not None  # guaranteed by the hash
            (folder / target).write_bytes(member.read())
    (folder / "NOTICE").write_text(RUNTIME_NOTICE, encoding="utf-8")
