"""Sources that ask no web: what they find in folders and lists, and what they say when it is not there."""

import csv
import hashlib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from fakeweb import FETCH

from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.http import HttpClient
from portraitist.collect.params import CelebaParams, CollectParams
from portraitist.collect.sources import Candidate, SourceError, celeba, get_url, load_source, names, plain_text


def laid(root: Path, **files: bytes) -> None:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def found(name: str, params: CollectParams, tmp_path: Path) -> list[Candidate]:
    return list(load_source(name).candidates(params, FetchCache(HttpClient(FETCH), tmp_path / "spool")))


def at(path: Path) -> CollectParams:
    return CollectParams(path=path, limit=9, shard_size=4)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    names = [
        "selfies/z.JPG",
        "selfies/anna/1.png",
        "selfies/anna/trip/2.webp",
        "selfies/b.jpeg",
        "portraits/klimt/kiss.tif",
    ]
    laid(tmp_path, **{name: name.encode() for name in names})
    laid(tmp_path, **{"selfies/notes.txt": b"", "selfies/.gitkeep": b"", "portraits/klimt/licence.md": b""})
    (tmp_path / "selfies" / "folder.png").mkdir()
    return tmp_path


def test_a_folder_gives_each_picture_below_it_as_it_is_by_name(own: Path, tmp_path: Path):
    candidates = found("folder", at(own), tmp_path)
    assert [(one.kind, one.name) for one in candidates] == [
        ("selfies", "anna/1.png"),
        ("selfies", "anna/trip/2.webp"),
        ("selfies", "b.jpeg"),
        ("selfies", "z.JPG"),
        ("portraits", "klimt/kiss.tif"),
    ]
    assert all(one.read and one.read() == f"{one.kind}/{one.name}".encode() for one in candidates)


def test_a_folder_inside_names_the_group_and_a_loose_picture_has_none(own: Path, tmp_path: Path):
    groups = [one.group for one in found("folder", at(own), tmp_path)]
    assert groups == ["selfies/anna", "selfies/anna/trip", "", "", "portraits/klimt"]


def test_pictures_of_one_name_in_both_folders_pairs_are_a_pair_and_no_group(own: Path, tmp_path: Path):
    laid(own, **dict.fromkeys(("selfies/pairs/anna.jpg", "portraits/pairs/anna.png", "selfies/pairs/berta.jpg"), b"x"))
    candidates = found("folder", at(own), tmp_path)
    pairs = [one for one in candidates if one.name.startswith("pairs/")]
    assert {(one.kind, one.name, one.pair, one.group) for one in pairs} == {
        ("selfies", "pairs/anna.jpg", "anna", ""),
        ("portraits", "pairs/anna.png", "anna", ""),
        ("selfies", "pairs/berta.jpg", "", ""),
    }
    assert {one.pair for one in candidates if one not in pairs} == {""}


def test_the_users_own_pictures_carry_no_truth(own: Path, tmp_path: Path):
    assert {one.truth for one in found("folder", at(own), tmp_path)} == {None}


@pytest.mark.parametrize("name", ["folder", "sample"])
def test_a_missing_folder_is_named(name: str, tmp_path: Path):
    with pytest.raises(SourceError, match=r"selfies is no folder; give the folder"):
        found(name, at(tmp_path), tmp_path)


def test_a_folder_without_pictures_is_named_with_the_endings_that_are_read(own: Path, tmp_path: Path):
    (own / "portraits" / "klimt" / "kiss.tif").unlink()
    with pytest.raises(SourceError, match=r"portraits holds no picture; files that end in \.bmp, \.jpeg, \.jpg"):
        found("folder", at(own), tmp_path)


def test_the_sample_carries_the_truth_of_each_picture(sample: Path, tmp_path: Path):
    candidates = found("sample", at(sample), tmp_path)
    assert len(candidates) == 200
    for one in (candidates[0], candidates[-1]):
        assert one.read and one.truth
        assert one.read() == (sample / one.kind / one.name).read_bytes()
        assert one.truth() == (sample / "masks" / one.kind / one.name).with_suffix(".png").read_bytes()
        assert (one.licence, one.group) == ("CC0-1.0", "")


def test_a_source_is_found_by_its_file_and_another_name_is_refused():
    assert len(names()) == 14
    with pytest.raises(SourceError, match="no source 'gallery'; there are baidu, bing, celeba, "):
        load_source("gallery")


def test_strangers_words_become_one_plain_line():
    assert plain_text("<b>Anna</b>\n\u202e& <script>x</script>\x1b[1m") == "Anna & x [1m"
    assert plain_text("=HYPERLINK(1)") == "HYPERLINK(1)"
    assert len(plain_text("x" * 999)) == 300


@pytest.mark.parametrize(
    ("told", "address"),
    [
        ("//a.example/x ", "https://a.example/x"), ("http://a.example/a b/画", "http://a.example/a b/画"),
        ("http://a.example/\ud800", ""), ("http://a.example/\n\x00", ""), ("x" * 5000, ""), (5, ""), (None, ""),
    ],
)  # fmt: skip
def test_strangers_addresses_are_one_printable_line(told: object, address: str):
    assert get_url({"url": [told]}, "url", 0) == address


# --- identification photos


CONSENT = ["file", "subject_id", "consent", "date", "scope", "minor"]


def consented(root: Path, rows: list[list[str]], columns: list[str] = CONSENT) -> CollectParams:
    with (root / "consent.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    return at(root)


def test_only_who_agreed_and_is_of_age_is_taken_and_the_others_have_a_row(tmp_path: Path):
    laid(tmp_path, **{f"{name}.jpg": b"x" for name in ("yes", "no", "minor", "unknown")})
    params = consented(
        tmp_path,
        [
            ["yes.jpg", "p1", "yes", "2026-05-04", "training", "no"],
            ["no.jpg", "p2", "no", "2026-05-04", "training", "no"],
            ["minor.jpg", "p3", "yes", "2026-05-04", "training", "yes"],
        ],
    )
    told = {one.name: one for one in found("id_photos", params, tmp_path)}
    assert (told["yes.jpg"].status, told["yes.jpg"].consent) == (None, "2026-05-04: training")
    assert told["yes.jpg"].group == "id_photos/p1"
    reasons = {name: one.reason for name, one in told.items() if one.status and one.status.value == "no_consent"}
    assert reasons == {
        "no.jpg": "consent is 'no'",
        "minor.jpg": "minor is 'yes'; only pictures of adults are taken",
        "unknown.jpg": "not in consent.csv",
    }


@pytest.mark.parametrize(
    ("rows", "columns", "told"),
    [
        ([], ["file", "consent"], "the columns are 'file,consent'; file,subject_id,.* are needed"),
        ([], [*CONSENT, "minor"], "the columns are .*, each once"),
        ([["a.jpg", "p1", "yes"]], CONSENT, "line 2: 6 cells were expected"),
        ([["a.jpg", "", "yes", "2026", "x", "no"]], CONSENT, "line 2: every row needs"),
        ([["a.jpg", "p1", "yes", "2026", "x", "no"]] * 2, CONSENT, "line 3: a.jpg stands twice"),
        ([["b.jpg", "p1", "yes", "2026", "x", "no"]], CONSENT, "consent.csv names b.jpg, which is not in"),
    ],
)
def test_a_list_of_consents_that_is_not_whole_is_an_error(
    tmp_path: Path, rows: list[list[str]], columns: list[str], told: str
):
    laid(tmp_path, **{"a.jpg": b"x"})
    with pytest.raises(SourceError, match=told):
        found("id_photos", consented(tmp_path, rows, columns), tmp_path)


def test_a_list_of_consents_that_is_badly_quoted_is_an_error(tmp_path: Path):
    laid(tmp_path, **{"a.jpg": b"x", "consent.csv": f'{",".join(CONSENT)}\na.jpg,"p1"x,yes\n'.encode()})
    with pytest.raises(SourceError, match=r"consent\.csv, line 2: ',' expected after"):
        found("id_photos", at(tmp_path), tmp_path)


@pytest.mark.parametrize("charset", ["utf-8", "utf-8-sig", "gbk"])
def test_a_list_of_consents_is_read_in_the_charset_that_it_was_saved_in(tmp_path: Path, charset: str):
    rows = f"{','.join(CONSENT)}\r\na.jpg,p1,yes,2026-05-04,训练,no\r\n"
    laid(tmp_path, **{"a.jpg": b"x", "consent.csv": rows.encode(charset)})
    assert [one.consent for one in found("id_photos", at(tmp_path), tmp_path)] == ["2026-05-04: 训练"]


def test_without_a_list_of_consents_nothing_is_taken(tmp_path: Path):
    laid(tmp_path, **{"a.jpg": b"x"})
    with pytest.raises(SourceError, match=r"consent\.csv is missing; it says who agreed"):
        found("id_photos", at(tmp_path), tmp_path)


# --- addresses


def test_a_list_of_addresses_says_what_is_known_of_each(tmp_path: Path):
    text = 'url,kind,author\n"http://a.example/x,y.jpg",portraits,Anna\n http://a.example/z ,selfies,\n'
    (tmp_path / "list.csv").write_text(text, encoding="utf-8")
    one, other = found("urls", at(tmp_path), tmp_path)
    assert (one.url, one.kind, one.author) == ("http://a.example/x,y.jpg", "portraits", "Anna")
    assert (other.url, other.kind) == ("http://a.example/z", "selfies")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("url\nhttp://a.example\n", "columns are 'url'; url,kind are needed, name,.* may be there"),
        ("url,kind,colour\nx,selfies,red\n", "columns are 'url,kind,colour'"),
        ("url,kind\nhttp://a.example/x,y.jpg,selfies\n", "line 2: 2 cells were expected"),
        ("url,kind\nhttp://a.example,cats\n", "line 2: an url, and a kind of selfies, portraits"),
        ('url,kind\n"http://a.example,selfies\n', "line 2: unexpected end of data"),
        ('url,"kind"s\n', r"list\.csv, line 1: ',' expected after"),
    ],
)
def test_a_malformed_list_of_addresses_is_an_error_that_names_the_line(tmp_path: Path, text: str, told: str):
    (tmp_path / "list.csv").write_text(text, encoding="utf-8")
    with pytest.raises(SourceError, match=told):
        found("urls", at(tmp_path), tmp_path)


@pytest.mark.parametrize(
    ("author", "charset", "told"),
    [("画家", "utf-8-sig", "画家"), ("画家", "gbk", "画家"), ("José", "latin-1", "Jos\ufffd")],
)
def test_a_list_of_addresses_is_read_in_the_charset_that_it_was_saved_in(
    tmp_path: Path, author: str, charset: str, told: str
):
    (tmp_path / "list.csv").write_bytes(f"url,kind,author\nhttp://a.example/1,selfies,{author}\n".encode(charset))
    assert [(one.url, one.author) for one in found("urls", at(tmp_path), tmp_path)] == [("http://a.example/1", told)]


def test_no_list_of_addresses_is_an_error(tmp_path: Path):
    with pytest.raises(SourceError, match="holds no list"):
        found("urls", at(tmp_path), tmp_path)


# --- CelebA


ATTRIBUTES = ["Blurry", "Eyeglasses", "Male", "Wearing_Hat", "Young"]
LEVEL = "70 110 108 110 89 130 75 150 104 150"


def celeba_at(root: Path, monkeypatch: pytest.MonkeyPatch, *, packed: bool = False, **lists: str) -> CelebaParams:
    """Forty pictures; each is its name. Male and Young in turns; every person has two."""
    faces = [f"{number:06d}.jpg" for number in range(1, 41)]
    has = {name: [-1, -1, 1 if index % 2 else -1, -1, 1 if index % 4 > 1 else -1] for index, name in enumerate(faces)}
    has["000001.jpg"][1] = has["000002.jpg"][3] = has["000003.jpg"][0] = 1
    rows = "".join(f"{name} {' '.join(map(str, values))}\n" for name, values in has.items())
    texts = {
        "list_attr_celeba.txt": f"40\n{' '.join(ATTRIBUTES)}\n{rows}",
        "identity_CelebA.txt": "".join(f"{name} {(index + 1) // 2}\n" for index, name in enumerate(faces)),
        "list_landmarks_align_celeba.txt": "40\nx y\n" + "".join(f"{name} {LEVEL}\n" for name in faces),
        "list_eval_partition.txt": "".join(f"{name} {index // 30}\n" for index, name in enumerate(faces)),
    } | lists
    root.mkdir()
    for name, text in texts.items():
        if text:
            (root / name).write_text(text, encoding="ascii")
    if packed:
        with zipfile.ZipFile(root / "img_align_celeba.zip", "w") as archive:
            for name in [*faces, "../escape.jpg"]:
                archive.writestr(f"img_align_celeba/{name}", name)
    else:
        laid(root, **{f"img_align_celeba/{name}": name.encode() for name in faces})
    there = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in root.iterdir() if path.is_file()}
    monkeypatch.setattr(celeba, "MD5", there)
    return celeba_params(root)


def celeba_params(root: Path, **changed: Any) -> CelebaParams:
    told: dict[str, Any] = {"path": root, "limit": 9, "shard_size": 9, "download": False, "max_roll_degrees": 10}
    told |= {"max_turn": 0.2, "without": ["Eyeglasses", "Wearing_Hat", "Blurry"], "shares": ["Male", "Young"]}
    return CelebaParams(**(told | changed))


@pytest.mark.parametrize("packed", [False, True])
def test_celeba_is_chosen_by_the_written_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool):
    candidates = found("celeba", celeba_at(tmp_path / "celeba", monkeypatch, packed=packed), tmp_path)
    chosen = [one.name for one in candidates]
    numbers = [int(name[:6]) for name in chosen]
    assert all(one.read and one.read() == one.name.encode() for one in candidates)
    assert all(3 < number <= 30 for number in numbers)  # of the training part; without glasses, hat and blur
    persons = [one.group for one in candidates]
    assert persons == [f"celeba/{number // 2}" for number in numbers]
    assert len(set(persons)) == len(persons)
    strata = [(number % 2, (number - 1) % 4 > 1) for number in numbers[:8]]
    assert [strata.count(one) for one in {*strata}] == [2, 2, 2, 2]
    assert chosen == [one.name for one in found("celeba", celeba_params(tmp_path / "celeba"), tmp_path)]


@pytest.mark.parametrize(
    "marks",
    ["70 110 108 125 89 130 75 150 104 150", "70 110 108 110 100 130 75 150 104 150", "70 110 70 110 70 130 0 0 0 0"],
)
def test_a_head_that_is_tilted_or_turned_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, marks: str):
    lines = "".join(f"{number:06d}.jpg {LEVEL if number == 9 else marks}\n" for number in range(1, 41))
    params = celeba_at(tmp_path / "celeba", monkeypatch, **{"list_landmarks_align_celeba.txt": f"40\nx y\n{lines}"})
    assert [one.name for one in found("celeba", params, tmp_path)] == ["000009.jpg"]


def test_without_the_lists_of_persons_and_landmarks_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    none = {"identity_CelebA.txt": "", "list_landmarks_align_celeba.txt": ""}
    candidates = found("celeba", celeba_at(tmp_path / "celeba", monkeypatch, **none), tmp_path)
    assert len(candidates) == 27
    assert {one.group for one in candidates} == {""}
    said = capsys.readouterr().err
    assert "no list of persons" in said
    assert "no list of landmarks" in said


def test_a_copy_of_celeba_that_is_not_whole_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = tmp_path / "celeba"
    params = celeba_at(root, monkeypatch, packed=True)
    with (root / "img_align_celeba.zip").open("ab") as file:
        file.write(b"<html>quota exceeded</html>")
    with pytest.raises(SourceError, match=r"img_align_celeba\.zip: md5 \w+ expected, found \w+; fetch it anew"):
        found("celeba", params, tmp_path)
    (root / "img_align_celeba.zip").unlink()
    with pytest.raises(SourceError, match=r"lacks img_align_celeba\.zip; put your own copy"):
        found("celeba", params, tmp_path)


def test_an_attribute_that_celeba_does_not_know_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    celeba_at(tmp_path / "celeba", monkeypatch)
    with pytest.raises(SourceError, match="CelebA knows no attribute 'Bald'"):
        found("celeba", celeba_params(tmp_path / "celeba", without=["Bald"]), tmp_path)


def test_a_download_that_fails_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import torchvision.datasets

    def quota(root: str, download: bool) -> None:
        assert (root, download) == (str(tmp_path), True)
        raise RuntimeError("quota exceeded")

    monkeypatch.setattr(torchvision.datasets, "CelebA", quota)
    (tmp_path / "celeba").mkdir()
    with pytest.raises(SourceError, match=r"RuntimeError: quota exceeded; it needs gdown, .*fetch the files yourself"):
        found("celeba", celeba_params(tmp_path / "celeba", download=True), tmp_path)
