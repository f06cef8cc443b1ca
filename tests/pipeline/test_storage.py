"""The commands of docs/storage.md, run in scratch clones with an S3 server on this machine."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from console_page import run_page
from scratch_clone import ROOT, ScratchClone

from portraitist.core.shards import Shards

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("repro")]

PAGE = ROOT / "docs" / "storage.md"
BUCKET = "portraits"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """An empty bucket on a server on this machine, with credentials in the environment."""
    boto3, server = pytest.importorskip("boto3"), pytest.importorskip("moto.server")
    pytest.importorskip("dvc_s3")
    credentials = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in credentials.items():
        monkeypatch.setenv(name, value)
    s3 = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    s3.start()
    address = "http://{}:{}".format(*s3.get_host_and_port())
    bucket = boto3.resource("s3", endpoint_url=address).create_bucket(Bucket=BUCKET)
    yield bucket
    s3.stop()


def make_project(folder: Path, pretrained: Path) -> ScratchClone:
    """Create a clone in which `export` has run, with a git remote."""
    clone = ScratchClone(folder / "portraitist", ("masked_stylizer",))
    # otherwise, stage `weights` would download them
    shutil.copytree(pretrained, clone.folder / "models" / "pretrained")
    clone.check("dvc", "commit", "--force", "weights")
    clone.check("dvc", "repro", "export")
    clone.git("branch", "--move", "main")
    clone.commit("Train")
    clone.git("clone", "--quiet", "--bare", ".", "../repository.git")
    clone.git("remote", "add", "origin", str(folder / "repository.git"))
    return clone


def test_storage_commands_print_what_the_page_shows(tmp_path: Path, pretrained: Path, bucket) -> None:
    clone = make_project(tmp_path / "my", pretrained)
    first = clone.folder
    places = {
        "https://s3.example.org": bucket.meta.client.meta.endpoint_url,
        "https://git.example.org/you/portraitist": str(tmp_path / "my" / "repository.git"),
    }
    for command, output in run_page(clone, PAGE, places):
        if command.startswith("dvc repro"):
            assert "Running stage" not in output  # a second clone has nothing to run
            assert clone.folder != first
    assert (tmp_path / "my" / "model" / "portraitist.onnx").is_file()

    raw = Shards(first / "data" / "raw" / "sample")
    picture = raw.read(next(iter(raw)), "bytes")
    pushed = [item.get()["Body"].read() for item in bucket.objects.all()]
    assert len(pushed) > 100
    assert not [data for data in pushed if picture in data]  # collected pictures are never pushed
