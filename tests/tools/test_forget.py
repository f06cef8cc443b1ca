"""`portraitist dataset forget`: which pictures an argument matches, and that they are removed for good."""

import hashlib
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from data_checkout import DATA_STAGES, digests, make_checkout, run_stage
from drawn import encoded
from PIL import Image
from typer.testing import CliRunner

from portraitist.cli import app, dataset
from portraitist.collect.blocklist import Blocklist, BlocklistError
from portraitist.collect.response_store import SourceResponses
from portraitist.core import manifest
from portraitist.core.image_io import decode_png
from portraitist.core.manifest import picture_id
from portraitist.core.shards import Shards, is_index
from portraitist.tools import forget

pytestmark = pytest.mark.slow

NUMBERS = {"selfies": (0, 2, 4, 8, 10, 16), "portraits": (1, 3, 5, 7, 9, 11)}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, sample: Path, pretrained: Path) -> Path:
    """A checkout after the data stages. Selfie 0000 has a smaller copy and a mirrored one."""
    root = tmp_path_factory.mktemp("forget")
    for kind, numbers in NUMBERS.items():
        (root / "own" / kind / "anna").mkdir(parents=True)
        for number in numbers:
            shutil.copy(
                sample / kind / f"{number:04d}.jpg", root / "own" / kind / ("anna" if number in (8, 16) else "")
            )
    with Image.open(sample / "selfies" / "0000.jpg") as picture:
        (root / "own" / "selfies" / "small.png").write_bytes(encoded(picture.resize((200, 200)), "PNG"))
        mirrored = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((240, 240))
        (root / "own" / "selfies" / "mirror.png").write_bytes(encoded(mirrored, "PNG"))
    own = root / "own"
    checkout = make_checkout(root / "checkout", pretrained, own, sample=2, folder=50)
    (checkout / "data" / "sample").mkdir()
    shutil.copy(sample / "index.csv", checkout / "data" / "sample")  # a table with the name of a shard index
    for name in DATA_STAGES:
        run_stage(checkout, name)
    return checkout


@pytest.fixture
def checkout(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the original checkout, as the working directory."""
    shutil.copytree(original, tmp_path / "checkout", symlinks=True)
    monkeypatch.chdir(tmp_path / "checkout")
    return tmp_path / "checkout"


def run_forget(*words: object) -> tuple[int, str, str]:
    """Return the exit code, stdout and stderr of `portraitist dataset forget`."""
    return run_cli("dataset", "forget", *words)


def counts(output: str) -> list[int]:
    """Return the numbers of pictures found and of blocklist lines added, from the command's summary."""
    (line,) = (line for line in output.splitlines() if "data/blocklist.txt" in line)
    return [int(number) for number in re.findall(r"\d+", line)]


def run_cli(*words: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [*map(str, words)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def named(checkout: Path, name: str) -> str:
    """Return the id of the picture with this name in the user's folder."""
    frame = manifest.read(checkout / "data/raw/folder/manifest.csv")
    return str(frame.loc[frame["name"] == name, "id"].iloc[0])


def files_with(checkout: Path, *ids: str) -> list[str]:
    """Return the outputs of stages whose bytes contain one of the ids."""
    words = [id_.encode() for id_ in ids]
    return sorted(path for path in digests(checkout) if any(word in (checkout / path).read_bytes() for word in words))


def rerun_stages(checkout: Path) -> None:
    """Run the stages after collect, as DVC would."""
    for name in DATA_STAGES[2:]:
        if name != "split":
            shutil.rmtree(checkout / "data" / name)
        run_stage(checkout, name)


def shards_with(checkout: Path, picture: str) -> list[str]:
    return sorted(
        path.parent.relative_to(checkout / "data").as_posix()
        for path in (checkout / "data").rglob("index.csv")
        if is_index(path) and picture in set(Shards(path.parent))
    )


def test_picture_and_copies_are_removed_from_all_stages(checkout: Path):
    copies = [named(checkout, name) for name in ("0000.jpg", "small.png", "mirror.png")]
    frame = manifest.read(checkout / "data/clean/manifest.csv").set_index("id")
    assert [frame.loc[picture, "relation"] for picture in copies[1:]] == ["near", "mirrored"]
    assert {"raw/folder", "raw/sample", "clean", "crop", "mask"} <= set(shards_with(checkout, copies[0]))
    code, output, _ = run_forget(copies[1])  # one of the copies
    assert (code, counts(output)) == (0, [3, 6])
    assert re.search(r"data/raw/folder: 3\b", output)
    assert re.search(r"data/raw/sample: 1\b", output)
    assert "data/crop, data/mask" in output
    rerun_stages(checkout)
    for picture in copies:
        assert shards_with(checkout, picture) == []
    # only the blocklist and the manifests of stage collect still contain the ids
    expected = ["data/blocklist.txt", "data/raw/folder/manifest.csv", "data/raw/sample/manifest.csv"]
    assert files_with(checkout, *copies) == expected
    rows = manifest.read(checkout / "data/raw/folder/manifest.csv").set_index("id").loc[copies]
    assert set(rows["status"]) == {"blocklisted"}
    assert set(rows["name"]) | set(rows["author"]) | set(rows["licence"]) | set(rows["url"]) == {""}


def test_other_pictures_are_unchanged(checkout: Path, original: Path):
    kept = sorted(set(Shards(checkout / "data/raw/folder")))
    removed = named(checkout, "0002.jpg")
    run_forget(removed)
    rerun_stages(checkout)
    for folder in ("raw/folder", "clean", "crop", "mask"):
        old, new = Shards(original / "data" / folder), Shards(checkout / "data" / folder)
        assert set(new) == set(old) - {removed}
        assert all(new.members(picture) == old.members(picture) for picture in new)
    assert sorted(Shards(checkout / "data/raw/folder")) == [picture for picture in kept if picture != removed]
    old, new = (manifest.read(path / "data/split.csv") for path in (original, checkout))
    assert new.to_dict("records") == [row for row in old.to_dict("records") if row["id"] != removed]


def test_removed_picture_is_not_collected_again(checkout: Path):
    removed = named(checkout, "0004.jpg")
    run_forget(removed)
    for source in ("folder", "sample"):
        shutil.rmtree(checkout / "data" / "raw" / source)
    run_stage(checkout, "collect")
    rerun_stages(checkout)
    assert set(shards_with(checkout, removed)) <= {"raw/folder", "raw/sample"}
    frame = manifest.read(checkout / "data/clean/manifest.csv").set_index("id")
    assert removed not in frame.index or frame.loc[removed, "status"] == "blocklisted"


def test_picture_is_removed_from_the_fetch_cache(checkout: Path):
    store = checkout / ".fetch-cache"
    (store / "sources" / "urls").mkdir(parents=True)
    responses = SourceResponses(store, "urls")
    picture = named(checkout, "0004.jpg")
    for name, data in (
        ("kept", b"another picture"),
        ("removed", Shards(checkout / "data/raw/folder").read(picture, "bytes")),
    ):
        entry = {"sha256": responses.save_bytes(data), "bytes": len(data), "fetched_at": "", "obeyed_robots": True}
        responses.save("picture", f"http://a.example/{name}", entry)
    output = run_forget(picture)[1]
    assert ".fetch-cache: 1 removed" in output
    assert "clear-cache" in output
    assert [path.read_bytes() for path in (store / "bytes").iterdir()] == [b"another picture"]
    assert not any(b"removed" in path.read_bytes() for path in store.rglob("*.json"))


def test_new_copy_of_a_removed_picture_is_blocked(checkout: Path):
    picture = Shards(checkout / "data/clean").read(named(checkout, "0010.jpg"), "png")
    run_forget(named(checkout, "0010.jpg"))
    own = checkout / "again"
    for kind, number in (("selfies", 4), ("portraits", 3)):
        (own / kind).mkdir(parents=True)
        (own / kind / "other.png").write_bytes(
            Shards(checkout / "data/clean").read(named(checkout, f"{number:04d}.jpg"), "png")
        )
    small = Image.fromarray(decode_png(picture)).resize((180, 180), Image.Resampling.LANCZOS)
    (own / "selfies" / "again.jpg").write_bytes(encoded(small, "JPEG", quality=70))
    (own / "selfies" / "mirror.png").write_bytes(encoded(np.ascontiguousarray(decode_png(picture)[:, ::-1]), "PNG"))
    new = make_checkout(checkout / "new", checkout / "models/pretrained", own, folder=9)
    shutil.copy(checkout / "data/blocklist.txt", new / "data")
    for name in DATA_STAGES[:3]:
        run_stage(new, name)
    found = json.loads((new / "metrics/clean.json").read_text())
    assert found["selfies"] == {"blocklisted": 2, "kept": 1}


def test_group_is_removed_by_name(checkout: Path):
    anna = [named(checkout, f"anna/{number:04d}.jpg") for number in (8, 16)]
    code, output, _ = run_forget("selfies/anna", "--because", "she asked")
    assert (code, counts(output)[0]) == (0, 2)
    listed = (checkout / "data/blocklist.txt").read_text().splitlines()
    assert listed[:2] == ["# she asked", "subject:selfies/anna"]
    for picture in anna:  # removed from data/raw; the later stages remove them at their next run
        assert "clean" in shards_with(checkout, picture)
        assert not any(place.startswith("raw/") for place in shards_with(checkout, picture))
    rerun_stages(checkout)
    assert [shards_with(checkout, picture) for picture in anna] == [[], []]


def test_removed_pictures_are_not_counted_again(checkout: Path):
    first, second = (named(checkout, f"anna/{number:04d}.jpg") for number in (8, 16))
    assert re.search(r"data/raw/folder: 1\b", run_forget(first)[1])
    assert re.search(r"data/raw/folder: 1\b", run_forget(first, second)[1])


@pytest.mark.parametrize("above", ["/x/mine", "..", "C:/mine/selfies"])
def test_group_is_matched_by_the_path_of_its_folder(checkout: Path, above: str):
    anna = {named(checkout, f"anna/{number:04d}.jpg") for number in (8, 16)}
    found = forget.find(checkout, [f"{above}/selfies/anna/"])
    assert (set(found.ids), found.entries[0], found.missed) == (anna, "subject:selfies/anna", {})


def test_unknown_group_error_suggests_similar_groups(checkout: Path):
    for word in ("anna", "Ana", "/x/photos/anna"):
        code, _, error = run_forget(word)
        assert code == 2
        assert word in error
        assert "selfies/anna" in error
    assert not (checkout / "data/blocklist.txt").exists()


def test_unmatched_entries_are_reported_and_exit_1(checkout: Path):
    code, output, errors = run_forget("subject:anna", "subject:selfies/anna", "https://example.org/anna.jpg")
    assert (code, counts(output)) == (1, [2, 7])
    first, second = errors.splitlines()[:2]
    assert "subject:anna" in first
    assert "selfies/anna" in first
    assert "https://example.org/anna.jpg" in second
    assert "selfies/anna" not in second


def test_file_is_matched_even_if_never_collected(checkout: Path, sample: Path):
    code, output, _ = run_forget(sample / "selfies" / "0002.jpg")
    assert (code, counts(output)[0]) == (0, 1)
    never = sample / "selfies" / "0050.jpg"
    code, output, _ = run_forget(never)
    assert (code, counts(output)) == (1, [0, 2])
    digest = hashlib.sha256(never.read_bytes()).hexdigest()
    assert Blocklist.read(checkout / "data/blocklist.txt").why(sha256=digest) == f"sha256:{digest}"
    assert counts(run_forget(never)[1]) == [0, 0]


def test_url_host_and_name_match_their_pictures(checkout: Path):
    path = checkout / "data/raw/folder/manifest.csv"
    frame = manifest.read(path)
    frame["url"] = [f"https://img{n % 2}.example.org/{n}.jpg" for n in range(len(frame))]
    manifest.write(manifest.to_records(frame), path, list(frame))
    ids = list(frame["id"])
    found = forget.find(checkout, ["https://img1.example.org/1.jpg"])
    assert ids[1] in found.ids
    assert found.entries[0] == "url:https://img1.example.org/1.jpg"
    assert set(ids[1::2]) <= set(forget.find(checkout, ["host:img1.example.org"]).ids)
    assert set(ids) <= set(forget.find(checkout, ["host:example.org"]).ids)
    assert named(checkout, "0010.jpg") in forget.find(checkout, ["0010.jpg"]).ids


def test_other_half_of_a_pair_is_removed(checkout: Path):
    path = checkout / "data/raw/folder/manifest.csv"
    frame = manifest.read(path)
    frame["pair"] = [("f" * 16) if name in ("0002.jpg", "0003.jpg") else "" for name in frame["name"]]
    manifest.write(manifest.to_records(frame), path, list(frame))
    assert set(forget.find(checkout, [named(checkout, "0002.jpg")]).ids) == {
        named(checkout, "0002.jpg"),
        named(checkout, "0003.jpg"),
    }


def test_review_marks_are_removed(checkout: Path):
    removed = [named(checkout, "0002.jpg"), named(checkout, "0005.jpg")]
    (checkout / "marks.txt").write_text(
        "# marked on the review pages\n" + "".join(f"sha256:{picture}\n" for picture in removed)
    )
    code, output, _ = run_forget("--marks", "marks.txt")
    assert (code, counts(output)[0]) == (0, 2)
    assert [picture for picture in removed if "raw/folder" in shards_with(checkout, picture)] == []


DVC = """
import json, pathlib, sys
with pathlib.Path("dvc.log").open("a") as log:
    log.write(" ".join(sys.argv[1:]) + "\\n")
changes = json.loads(pathlib.Path("changes.json").read_text())
if sys.argv[1] == "status":
    if sys.argv[-1] not in changes:
        sys.exit("stage not found")
    print(json.dumps({sys.argv[-1]: changes[sys.argv[-1]]} if changes[sys.argv[-1]] else {}))
"""


@pytest.mark.parametrize(
    ("changes", "committed", "noted"),
    [
        ({"collect@folder": []}, True, False),
        ({"collect@folder": [{"changed outs": {"data/raw/folder": "modified"}}]}, True, False),
        ({"collect@folder": [{"changed deps": {"own": "modified"}}]}, False, True),  # a commit would hide new pictures
        ({}, False, False),  # the source is no longer in `sources`
    ],
    ids=["current", "output changed", "folder changed", "not in use"],
)
def test_only_sources_without_other_changes_are_committed(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, list[object]], committed: bool, noted: bool
):
    (checkout / ".dvc").mkdir()
    (checkout / "dvc.py").write_text(DVC)
    (checkout / "changes.json").write_text(json.dumps(changes))
    monkeypatch.setattr(dataset, "_dvc_command", lambda: [sys.executable, "dvc.py"])
    code, output, error = run_forget(named(checkout, "0002.jpg"))
    assert (code, "data/raw/folder: 1 removed" in output) == (0, True)
    assert ("commit --force collect@folder" in (checkout / "dvc.log").read_text().splitlines()) == committed
    assert ("`dvc repro` collects again, without these pictures" in error) == noted


def test_pictures_are_removed_without_dvc(checkout: Path, monkeypatch: pytest.MonkeyPatch):
    (checkout / ".dvc").mkdir()
    monkeypatch.setattr(dataset, "_dvc_command", lambda: None)
    code, output, error = run_forget(named(checkout, "0002.jpg"))
    assert (code, "data/raw/folder: 1 removed" in output) == (1, True)
    assert "`dvc commit --force collect@folder collect@sample` failed; repeat it before you run other commands" in error


def test_remaining_copies_are_listed(checkout: Path):
    split = manifest.read(checkout / "data/split.csv")
    trained = split.loc[
        (split["part"] == "train") & split["id"].isin(set(Shards(checkout / "data/raw/folder"))), "id"
    ].iloc[0]
    (checkout / "models" / "mine.pt").write_bytes(b"weights")
    for folder in (".checkpoints", "runs"):
        (checkout / folder).mkdir()
    config = "[core]\n    remote = store\n['remote \"store\"']\n    url = /remote\n"
    (checkout / "config").write_text(config)
    (checkout / "data" / ".dvc").mkdir()
    (checkout / "models" / "portraitist").mkdir()
    assert run_cli("dataset", "review")[0] == 0
    output = run_forget(trained)[1]
    assert "data/split.csv (train), models/mine.pt, models/portraitist\n" in output
    assert all(f"delete {folder}/" in output for folder in (".checkpoints", "runs", "review"))
    for command in ("dvc gc --workspace --force", "dvc exp remove", "dvc repro"):
        assert command in output
    (checkout / ".dvc").mkdir()
    (checkout / ".dvc" / "config").write_text(config)
    assert any(
        "dvc gc --workspace --cloud --remote store --force" in line for line in forget.remaining_steps(checkout, [])
    )


def test_the_users_own_file_is_listed(checkout: Path, original: Path):
    output = run_forget(named(checkout, "0002.jpg"))[1]
    assert f"delete {original.parent / 'own' / 'selfies' / '0002.jpg'}" in output


@pytest.mark.parametrize("word", ["nobody", "no/such/file.jpg", "12345"])
def test_unknown_word_is_an_error_and_changes_nothing(checkout: Path, word: str):
    before = digests(checkout)
    code, output, error = run_forget(word)
    assert (code, output) == (2, "")
    assert word in error
    assert "subject:GROUP" in error
    assert digests(checkout) == before


def test_missing_words_and_malformed_marks_are_errors(checkout: Path):
    assert run_forget()[0] == 2
    assert "none.txt: No such file" in run_forget("--marks", "none.txt")[2]
    (checkout / "marks.txt").write_text("sha256:12\n", encoding="utf-16")
    code, output, error = run_forget("--marks", "marks.txt")
    assert (code, output) == (2, "")
    assert "marks.txt" in error
    assert "UTF-8" in error
    (checkout / "marks.txt").write_text("sha256:12\n")
    assert "marks.txt, line 1" in run_forget("--marks", "marks.txt")[2]
    with pytest.raises(BlocklistError):
        forget.find(checkout, ["dhash:12"])


@pytest.mark.parametrize("kind", ["", "sha256:"])
def test_face_id_removes_its_picture(checkout: Path, kind: str):
    picture = named(checkout, "0002.jpg")
    face = manifest.face_id(picture, 1)
    path = checkout / "data/crop/manifest.csv"
    frame = manifest.read(path)
    more = frame[frame["id"] == picture].assign(id=face)
    manifest.write([*manifest.to_records(frame), *manifest.to_records(more)], path, list(frame))
    output = run_forget(f"{kind}{face}")[1]
    note = output.splitlines()[0]
    assert face in note
    assert picture in note
    assert counts(output)[0] == 1
    assert not any(place.startswith("raw/") for place in shards_with(checkout, picture))
    listed = (checkout / "data/blocklist.txt").read_text()
    assert f"sha256:{picture}" in listed
    assert face not in listed


def test_unknown_id_is_blocked_and_reported(checkout: Path):
    unknown = picture_id(b"never collected")
    code, output, error = run_forget(unknown)
    assert (code, counts(output)) == (1, [0, 1])
    assert unknown in error
    assert f"sha256:{unknown}" in (checkout / "data/blocklist.txt").read_text()
