"""A temporary project folder, in which tests run the commands of the data stages in dvc.yaml."""

import hashlib
import runpy
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
DATA_STAGES = ("sources", "collect", "clean", "crop", "mask", "split", "augment")


def run_stage(checkout: Path, name: str) -> None:
    """Run a stage in this process. "collect" runs it for each source in use, "collect@folder" for source `folder`."""
    name, _, source = name.partition("@")
    definition = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"][name]
    if "foreach" not in definition:
        _run_command(checkout, definition["cmd"])
        return
    sources = yaml.safe_load((checkout / "params.yaml").read_text(encoding="utf-8"))["sources"]
    for item in [source] if source else sources:
        _run_command(checkout, definition["do"]["cmd"].replace("${item}", item))


def _run_command(checkout: Path, command: str) -> None:
    words = command.split()
    assert words[:2] == ["python", "-m"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(checkout)
        patch.setattr(sys, "argv", words[2:])
        sys.modules.pop(words[2], None)
        runpy.run_module(words[2], run_name="__main__", alter_sys=True)


def make_checkout(path: Path, pretrained: Path, own: Path, **limits: int) -> Path:
    """Write the inputs of the data stages to the folder `path`, and return it.

    Args:
        path: the new folder.
        pretrained: folder of pretrained models.
        own: folder of source `folder`.
        limits: names of the sources to use, and number of pictures of each kind; by default as in params.yaml.
    """
    for folder in ("profiles", "data/raw", "data/local/backgrounds", "metrics", "models"):
        (path / folder).mkdir(parents=True)
    (path / "models" / "pretrained").symlink_to(pretrained)
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["collect"]["sample"]["path"] = str(ROOT / "data" / "sample")
    params["collect"]["folder"]["path"] = str(own)
    # with this salt, a dozen pictures of the sample give at least one training face and two test faces
    params["split"]["salt"] = "24"
    profile = yaml.safe_load((ROOT / "profiles" / f"{params['profile']}.yaml").read_text(encoding="utf-8"))
    params["sources"] = list(limits) or params["sources"]
    profile["limits"] |= limits
    profile["shard_size"] = 5
    (path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    (path / "profiles" / f"{params['profile']}.yaml").write_text(yaml.safe_dump(profile), encoding="utf-8")
    return path


def digests(checkout: Path) -> dict[str, str]:
    """Return the SHA-256 of each file in data/ and metrics/."""
    files = (path for part in ("data", "metrics") for path in (checkout / part).rglob("*") if path.is_file())
    return {path.relative_to(checkout).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
