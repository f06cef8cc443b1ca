"""Forgetting: what a word names, what is taken out at once, and that no stage brings it back."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from drawn import encoded
from PIL import Image
from test_data_stages import DATA, checkout, digests, stage
from typer.testing import CliRunner

from portraitist.cli import app
from portraitist.collect.blocklist import Blocklist, BlocklistError
from portraitist.core import manifest
from portraitist.core.image_io import decode_png
from portraitist.core.manifest import picture_id
from portraitist.core.shards import Shards, is_index
from portraitist.tools import forget

pytestmark = pytest.mark.slow

NUMBERS = {"selfies": (0, 2, 4, 8, 10, 16), "portraits": (1, 3, 5, 7, 9, 11)}


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory, sample: Path, pretrained: Path) -> Path:
    """A checkout after its data stages. Of selfie 0000 there are a smaller copy and one in a mirror."""
    root = tmp_path_factory.mktemp("forget")
    for kind, numbers in NUMBERS.items():
        (root / "own" / kind / "anna").mkdir(parents=True)
        for number in numbers:
            shutil.copy(
                sample / kind / f"{number:04d}.jpg", root / "own" / kind / ("anna" if number in (8, 16) else "")
            )
    with Image.open(sample / "selfies" / "0000.jpg") as picture:
        (root / "own" / "selfies" / "small.png").write_bytes(encoded(picture.resize((200, 200)), "PNG"))
        turned = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((240, 240))
        (root / "own" / "selfies" / "mirror.png").write_bytes(encoded(turned, "PNG"))
    own = root / "own"
    at = checkout(root / "here", pretrained, own, sample=2, folder=50)
    (at / "data" / "sample").mkdir()
    shutil.copy(sample / "index.csv", at / "data" / "sample")  # a table of that name, and no shards
    for name in DATA:
        stage(at, name)
    return at


@pytest.fixture
def here(before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, and the working directory."""
    shutil.copytree(before, tmp_path / "here", symlinks=True)
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def run(*words: object) -> tuple[int, str, str]:
    return run_cli("forget", *words)


def run_cli(*words: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [*map(str, words)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def named(here: Path, name: str) -> str:
    """The id of the picture that the user's folder calls so."""
    frame = manifest.read(here / "data/raw/folder/manifest.csv")
    return str(frame.loc[frame["name"] == name, "id"].iloc[0])


def mentions(here: Path, *ids: str) -> list[str]:
    """All files of the stages that hold one of the ids, in their name or anywhere in them."""
    words = [one.encode() for one in ids]
    return sorted(path for path in digests(here) if any(word in (here / path).read_bytes() for word in words))


def again(here: Path) -> None:
    """The stages after collect, as DVC would run them."""
    for name in DATA[2:]:
        for out in {"clean": ["clean"], "crop": ["crop"], "mask": ["mask"], "split": [], "augment": ["augment"]}[name]:
            shutil.rmtree(here / "data" / out)
        stage(here, name)


def shards_with(here: Path, picture: str) -> list[str]:
    return sorted(
        p.parent.relative_to(here / "data").as_posix()
        for p in (here / "data").rglob("index.csv")
        if is_index(p) and picture in set(Shards(p.parent))
    )


def test_a_picture_its_copies_and_all_that_was_made_of_them_are_gone(here: Path):
    copies = [named(here, name) for name in ("0000.jpg", "small.png", "mirror.png")]
    frame = manifest.read(here / "data/clean/manifest.csv").set_index("id")
    assert [frame.loc[one, "relation"] for one in copies[1:]] == ["near", "mirrored"]
    assert {"raw/folder", "raw/sample", "clean", "crop", "mask"} <= set(shards_with(here, copies[0]))
    code, said, _ = run(copies[1])  # named by one of its copies
    assert code == 0
    assert "3 pictures here; 6 lines added" in said
    assert "data/raw/folder: 3 taken out" in said
    assert "data/raw/sample: 1 taken out" in said
    assert "data/crop, data/mask" in said
    again(here)
    for one in copies:
        assert shards_with(here, one) == []
    # only the list, and the rows of what was collected, still know that there was something
    knowing = ["data/blocklist.txt", "data/raw/folder/manifest.csv", "data/raw/sample/manifest.csv"]
    assert mentions(here, *copies) == knowing
    rows = manifest.read(here / "data/raw/folder/manifest.csv").set_index("id").loc[copies]
    assert set(rows["status"]) == {"blocklisted"}
    assert set(rows["name"]) | set(rows["author"]) | set(rows["licence"]) | set(rows["url"]) == {""}


def test_the_others_are_as_they_were_to_the_bit(here: Path, before: Path):
    kept = sorted(set(Shards(here / "data/raw/folder")))
    gone = named(here, "0002.jpg")
    run(gone)
    again(here)
    for folder in ("raw/folder", "clean", "crop", "mask"):
        old, new = Shards(before / "data" / folder), Shards(here / "data" / folder)
        assert set(new) == set(old) - {gone}
        assert all(new.members(one) == old.members(one) for one in new)
    assert sorted(Shards(here / "data/raw/folder")) == [one for one in kept if one != gone]
    old, new = (manifest.read(at / "data/split.csv") for at in (before, here))
    assert new.to_dict("records") == [row for row in old.to_dict("records") if row["id"] != gone]


def test_what_is_collected_again_stays_out(here: Path):
    gone = named(here, "0004.jpg")
    run(gone)
    for source in ("folder", "sample"):
        shutil.rmtree(here / "data" / "raw" / source)
        stage(here, f"collect@{source}")
    again(here)
    assert set(shards_with(here, gone)) <= {"raw/folder", "raw/sample"}
    frame = manifest.read(here / "data/clean/manifest.csv").set_index("id")
    assert gone not in frame.index or frame.loc[gone, "status"] == "blocklisted"


def test_a_new_copy_of_what_was_forgotten_does_not_come_in(here: Path):
    picture = Shards(here / "data/clean").read(named(here, "0010.jpg"), "png")
    run(named(here, "0010.jpg"))
    own = here / "again"
    for kind, number in (("selfies", 4), ("portraits", 3)):
        (own / kind).mkdir(parents=True)
        (own / kind / "other.png").write_bytes(
            Shards(here / "data/clean").read(named(here, f"{number:04d}.jpg"), "png")
        )
    small = Image.fromarray(decode_png(picture)).resize((180, 180), Image.Resampling.LANCZOS)
    (own / "selfies" / "again.jpg").write_bytes(encoded(small, "JPEG", quality=70))
    (own / "selfies" / "mirror.png").write_bytes(encoded(np.ascontiguousarray(decode_png(picture)[:, ::-1]), "PNG"))
    at = checkout(here / "new", here / "models/pretrained", own, folder=9)
    shutil.copy(here / "data/blocklist.txt", at / "data")
    for name in DATA[:3]:
        stage(at, name)
    found = json.loads((at / "metrics/clean.json").read_text())
    assert found["selfies"] == {"blocklisted": 2, "kept": 1}


def test_a_group_is_named_by_its_name_and_stays_out(here: Path):
    anna = [named(here, f"anna/{number:04d}.jpg") for number in (8, 16)]
    code, said, _ = run("selfies/anna", "--because", "she asked")
    assert (code, "2 pictures here" in said) == (0, True)
    listed = (here / "data/blocklist.txt").read_text().splitlines()
    assert listed[:2] == ["# she asked", "subject:selfies/anna"]
    for one in anna:  # taken out of what was collected; the rest is for the stages
        assert "clean" in shards_with(here, one)
        assert not any(place.startswith("raw/") for place in shards_with(here, one))
    again(here)
    assert [shards_with(here, one) for one in anna] == [[], []]


@pytest.mark.parametrize("above", ["/x/mine", "..", "C:/mine/selfies"])
def test_a_groups_folder_may_be_named_by_its_path(here: Path, above: str):
    anna = {named(here, f"anna/{number:04d}.jpg") for number in (8, 16)}
    found = forget.find(here, [f"{above}/selfies/anna/"])
    assert (set(found.ids), found.entries[0], found.missed) == (anna, "subject:selfies/anna", {})


def test_a_name_that_is_not_the_whole_group_is_told_what_is_near(here: Path):
    for word in ("anna", "Ana", "/x/photos/anna"):
        code, _, complaint = run(word)
        assert (code, complaint.rpartition("; ")[2]) == (2, "groups near it: selfies/anna\n")
    assert not (here / "data/blocklist.txt").exists()


def test_an_entry_that_names_nothing_here_is_told_loudly_and_is_a_fault(here: Path):
    code, said, complaint = run("subject:anna", "subject:selfies/anna", "https://example.org/anna.jpg")
    told = "names NOTHING that is here; it is blocked for what comes later"
    assert (code, said.splitlines()[0]) == (1, "2 pictures here; 7 lines added to data/blocklist.txt")
    assert complaint.splitlines() == [
        f"portraitist: subject:anna: {told}; groups near it: selfies/anna",
        f"portraitist: https://example.org/anna.jpg: {told}",
        "portraitist: not all words named a picture; see above",
    ]


def test_a_file_is_named_by_where_it_lies_even_if_it_was_never_collected(here: Path, sample: Path):
    code, said, _ = run(sample / "selfies" / "0002.jpg")
    assert (code, "1 picture here" in said) == (0, True)
    never = sample / "selfies" / "0050.jpg"
    code, said, _ = run(never)
    assert (code, "0 pictures here; 2 lines added" in said) == (1, True)
    digest = hashlib.sha256(never.read_bytes()).hexdigest()
    assert Blocklist.read(here / "data/blocklist.txt").why(sha256=digest) == f"sha256:{digest}"
    assert "0 pictures here; 0 lines added" in run(never)[1]


def test_an_address_a_host_and_a_name_find_their_pictures(here: Path):
    path = here / "data/raw/folder/manifest.csv"
    frame = manifest.read(path)
    frame["url"] = [f"https://img{n % 2}.example.org/{n}.jpg" for n in range(len(frame))]
    manifest.write(manifest.to_records(frame), path, list(frame))
    ids = list(frame["id"])
    one = forget.find(here, ["https://img1.example.org/1.jpg"])
    assert ids[1] in one.ids
    assert one.entries[0] == "url:https://img1.example.org/1.jpg"
    assert set(ids[1::2]) <= set(forget.find(here, ["host:img1.example.org"]).ids)
    assert set(ids) <= set(forget.find(here, ["host:example.org"]).ids)
    assert named(here, "0010.jpg") in forget.find(here, ["0010.jpg"]).ids


def test_the_other_half_of_a_pair_goes_too(here: Path):
    path = here / "data/raw/folder/manifest.csv"
    frame = manifest.read(path)
    frame["pair"] = [("f" * 16) if name in ("0002.jpg", "0003.jpg") else "" for name in frame["name"]]
    manifest.write(manifest.to_records(frame), path, list(frame))
    assert set(forget.find(here, [named(here, "0002.jpg")]).ids) == {named(here, "0002.jpg"), named(here, "0003.jpg")}


def test_marks_of_the_review_pages_are_forgotten(here: Path):
    gone = [named(here, "0002.jpg"), named(here, "0005.jpg")]
    (here / "marks.txt").write_text("# marked on the review pages\n" + "".join(f"sha256:{one}\n" for one in gone))
    code, said, _ = run("--marks", "marks.txt")
    assert (code, "2 pictures here" in said) == (0, True)
    assert [one for one in gone if "raw/folder" in shards_with(here, one)] == []


def test_it_says_who_still_holds_them(here: Path):
    split = manifest.read(here / "data/split.csv")
    trained = split.loc[
        (split["part"] == "train") & split["id"].isin(set(Shards(here / "data/raw/folder"))), "id"
    ].iloc[0]
    (here / "models" / "mine.pt").write_bytes(b"weights")
    for folder in (".checkpoints", "runs"):
        (here / folder).mkdir()
    config = "[core]\n    remote = store\n['remote \"store\"']\n    url = /there\n"
    (here / "config").write_text(config)
    (here / "data" / ".dvc").mkdir()
    (here / "models" / "portraitist").mkdir()
    assert run_cli("review")[0] == 0
    said = run(trained)[1]
    assert "data/split.csv (train), models/mine.pt, models/portraitist\n" in said
    assert "pages that show it: delete review/" in said
    assert all(f"delete {folder}/" in said for folder in (".checkpoints", "runs"))
    for word in ("dvc gc --workspace --force", "dvc exp remove", "trained with it"):
        assert word in said
    (here / ".dvc").mkdir()
    (here / ".dvc" / "config").write_text(config)
    assert any("dvc gc --workspace --cloud --remote store --force" in line for line in forget.remains(here, []))


def test_it_says_which_of_the_users_own_files_it_is(here: Path, before: Path):
    said = run(named(here, "0002.jpg"))[1]
    assert f"your own file: delete {before.parent / 'own' / 'selfies' / '0002.jpg'}" in said


@pytest.mark.parametrize("word", ["nobody", "no/such/file.jpg", "12345"])
def test_a_word_that_names_nothing_is_an_error_and_changes_nothing(here: Path, word: str):
    before = digests(here)
    code, said, complaint = run(word)
    assert (code, said) == (2, "")
    assert complaint.startswith(f"portraitist: {word}: no picture here has this id, address, group or name")
    assert digests(here) == before


def test_nothing_to_forget_and_marks_that_are_missing_or_malformed_are_errors(here: Path):
    assert run()[0] == 2
    assert run("--marks", "none.txt")[2] == "portraitist: none.txt: No such file or directory\n"
    (here / "marks.txt").write_text("sha256:12\n", encoding="utf-16")
    assert run("--marks", "marks.txt") == (2, "", "portraitist: marks.txt: not a text in UTF-8\n")
    (here / "marks.txt").write_text("sha256:12\n")
    assert "marks.txt, line 1" in run("--marks", "marks.txt")[2]
    with pytest.raises(BlocklistError):
        forget.find(here, ["dhash:12"])


@pytest.mark.parametrize("kind", ["", "sha256:"])
def test_a_face_is_named_by_its_own_id_and_its_picture_goes(here: Path, kind: str):
    picture = named(here, "0002.jpg")
    face = manifest.face_id(picture, 1)
    path = here / "data/crop/manifest.csv"
    frame = manifest.read(path)
    more = frame[frame["id"] == picture].assign(id=face)
    manifest.write([*manifest.to_records(frame), *manifest.to_records(more)], path, list(frame))
    said = run(f"{kind}{face}")[1]
    assert said.startswith(f"{face} is a face of picture {picture}, which goes whole\n1 picture here; ")
    assert not any(place.startswith("raw/") for place in shards_with(here, picture))
    listed = (here / "data/blocklist.txt").read_text()
    assert f"sha256:{picture}" in listed
    assert face not in listed


def test_an_id_that_is_not_here_is_blocked_all_the_same_and_that_is_said(here: Path):
    one = picture_id(b"never seen")
    code, said, complaint = run(one)
    assert (code, said.startswith("0 pictures here; 1 line added")) == (1, True)
    assert complaint.startswith(f"portraitist: {one}: names NOTHING that is here")
    assert f"sha256:{one}" in (here / "data/blocklist.txt").read_text()
