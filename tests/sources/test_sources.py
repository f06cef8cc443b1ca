"""Sources that read local files: folders of pictures, lists, and copies of data sets."""

import csv
import hashlib
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
from fakeweb import FETCH

from portraitist.collect.blocklist import Blocklist
from portraitist.collect.candidate import Candidate, SourceError
from portraitist.collect.collector import collect_source
from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.http import HttpClient
from portraitist.collect.params import SOURCES, CelebaParams, CollectParams
from portraitist.core import manifest
from portraitist.core.params import load
from portraitist.sources import celeba, find_files, folder, get_url, load_source, plain_text, source_names

ROOT = Path(__file__).resolve().parents[2]
JPEG = b"\xff\xd8\xff\xe0"
PNG = b"\x89PNG\r\n\x1a\n"
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
AVIF, VIDEO = HEIC.replace(b"ftypheic", b"ftypavif"), HEIC.replace(b"ftypheic", b"ftypqt  ")


def write_files(root: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def find_candidates(name: str, params: CollectParams, tmp_path: Path) -> list[Candidate]:
    return list(load_source(name).candidates(params, FetchCache(HttpClient(FETCH), tmp_path / "cache", "test")))


def params_for(path: Path) -> CollectParams:
    return CollectParams(path=path, limit=9, shard_size=4)


def outcomes(candidates: list[Candidate]) -> dict[str, str]:
    return {candidate.name: candidate.status.value if candidate.status else "" for candidate in candidates}


# --- folder


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder of pictures, each with its own name as content."""
    pictures = ["selfies/z.JPG", "selfies/anna/1.png", "selfies/anna/trip/2.webp", "selfies/b.jpeg"]
    pictures.append("portraits/klimt/kiss.tif")
    root = tmp_path / "own"
    write_files(root, {name: JPEG + name.encode() for name in pictures})
    hidden = ("selfies/.gitkeep", "portraits/klimt/.gitkeep", "selfies/anna/._1.png", "selfies/.trash/3.png")
    write_files(root, dict.fromkeys(hidden, JPEG))
    (root / "selfies" / "folder.png").mkdir()
    return root


def test_folder_yields_every_picture_sorted_by_path(own: Path, tmp_path: Path):
    candidates = find_candidates("folder", params_for(own), tmp_path)
    assert [(candidate.kind, candidate.name) for candidate in candidates] == [
        ("selfies", "anna/1.png"),
        ("selfies", "anna/trip/2.webp"),
        ("selfies", "b.jpeg"),
        ("selfies", "z.JPG"),
        ("portraits", "klimt/kiss.tif"),
    ]
    for candidate in candidates:
        assert candidate.read
        assert candidate.read() == JPEG + f"{candidate.kind}/{candidate.name}".encode()
        assert (candidate.status, candidate.truth) == (None, None)


def test_subfolder_is_the_group(own: Path, tmp_path: Path):
    groups = [candidate.group for candidate in find_candidates("folder", params_for(own), tmp_path)]
    assert groups == ["selfies/anna", "selfies/anna/trip", "", "", "portraits/klimt"]


def test_same_name_in_both_pairs_folders_is_a_pair(own: Path, tmp_path: Path):
    names = ("selfies/pairs/anna.jpg", "portraits/pairs/anna.png", "selfies/pairs/berta.jpg", "selfies/pairs/carl.jpg")
    write_files(own, dict.fromkeys(names, JPEG) | {"portraits/pairs/carl.txt": b"not a picture"})
    candidates = find_candidates("folder", params_for(own), tmp_path)
    paired = [candidate for candidate in candidates if candidate.name.startswith("pairs/")]
    assert {(candidate.kind, candidate.name, candidate.pair, candidate.group) for candidate in paired} == {
        ("selfies", "pairs/anna.jpg", "anna", ""),
        ("portraits", "pairs/anna.png", "anna", ""),
        ("selfies", "pairs/berta.jpg", "", ""),
        ("selfies", "pairs/carl.jpg", "", ""),
        ("portraits", "pairs/carl.txt", "", ""),
    }
    assert {candidate.pair for candidate in candidates if candidate not in paired} == {""}


def test_pairs_with_the_same_stem_are_an_error(own: Path, tmp_path: Path):
    names = ("selfies/pairs/anna.jpg", "selfies/pairs/anna.png", "portraits/pairs/anna.jpg")
    write_files(own, dict.fromkeys(names, JPEG))
    with pytest.raises(SourceError, match=r"pairs/anna\.jpg and pairs/anna\.png have the same name"):
        find_candidates("folder", params_for(own), tmp_path)


def test_names_of_pairs_may_be_encoded_differently(own: Path, tmp_path: Path):
    write_files(own, {"selfies/pairs/Jose\u0301.jpg": JPEG, "portraits/pairs/Jos\xe9.png": PNG})
    candidates = find_candidates("folder", params_for(own), tmp_path)
    assert {candidate.pair for candidate in candidates if candidate.name.startswith("pairs/")} == {"Jos\xe9"}


def test_control_characters_in_names_are_escaped(own: Path, tmp_path: Path):
    write_files(own, {"selfies/c\rd.jpg": JPEG})
    names = [candidate.name for candidate in find_candidates("folder", params_for(own), tmp_path)]
    assert "c\\x0dd.jpg" in names


def test_folder_recognises_pictures_by_content(own: Path, tmp_path: Path):
    pictures = {"a.jfif": JPEG, "b": PNG, "c.heic": HEIC, "d.avif": AVIF, "f.jpg": HEIC, "g.JPE": JPEG}
    others = {"clip.mov": VIDEO, "notes.txt": b"notes", "empty": b""}
    files = pictures | others
    write_files(own / "selfies", files)
    candidates = find_candidates("folder", params_for(own), tmp_path)
    found = outcomes([candidate for candidate in candidates if candidate.name in files])
    assert found == dict.fromkeys(pictures, "") | dict.fromkeys(others, "not_a_picture")
    reasons = {candidate.name: candidate.reason for candidate in candidates}
    assert "video" in reasons["clip.mov"]
    assert "JPEG" in reasons["notes.txt"]


def test_damaged_picture_is_left_to_stage_clean(own: Path, tmp_path: Path):
    write_files(own / "selfies", {"empty.jpg": b"", "page.PNG": b"<html>"})
    found = outcomes(find_candidates("folder", params_for(own), tmp_path))
    assert (found["empty.jpg"], found["page.PNG"]) == ("", "")


def test_folder_follows_links_without_endless_loops(own: Path, tmp_path: Path):
    write_files(tmp_path / "elsewhere", {"x.jpg": JPEG + b"x", "deep/y.jpg": JPEG + b"y"})
    selfies = own / "selfies"
    (selfies / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "deep" / "up").symlink_to(tmp_path / "elsewhere")
    (selfies / "anna" / "top").symlink_to(selfies)
    (selfies / "0-anna").symlink_to(selfies / "anna")  # read once, under its real name
    (selfies / "broken.jpg").symlink_to(tmp_path / "missing.jpg")
    (selfies / "itself.jpg").symlink_to(selfies / "itself.jpg")
    found = outcomes(find_candidates("folder", params_for(own), tmp_path))
    assert found == {
        "anna/1.png": "",
        "anna/trip/2.webp": "",
        "b.jpeg": "",
        "broken.jpg": "unreadable",
        "itself.jpg": "unreadable",
        "linked/deep/y.jpg": "",
        "linked/x.jpg": "",
        "z.JPG": "",
        "klimt/kiss.tif": "",
    }


def test_folder_does_not_open_pipes(own: Path, tmp_path: Path):
    os.mkfifo(own / "selfies" / "pipe.jpg")
    found = outcomes(find_candidates("folder", params_for(own), tmp_path))
    assert found["pipe.jpg"] == "not_a_picture"


def test_every_file_of_a_folder_has_a_row(own: Path, tmp_path: Path):
    """A name that is not UTF-8 is escaped, because a manifest is UTF-8."""
    write_files(own, {"selfies/caf\udce9/\udce9.jpg": JPEG + b"e", "portraits/clip.mov": VIDEO})
    cache = FetchCache(HttpClient(FETCH), tmp_path / "cache", "test")
    rows = [each.row for each in collect_source("folder", folder, params_for(own), cache, Blocklist.of(()))]
    manifest.write(rows, tmp_path / "manifest.csv", ["kind", "name", "status", "reason", "group"])
    frame = manifest.read(tmp_path / "manifest.csv").set_index("name")
    assert len(frame) == 7
    assert tuple(frame.loc[r"caf\xe9/\xe9.jpg", ["status", "group"]]) == ("kept", r"selfies/caf\xe9")
    assert frame.loc["clip.mov", "status"] == "not_a_picture"
    assert frame.loc["clip.mov", "reason"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read everything")
def test_unreadable_file_has_a_status(own: Path, tmp_path: Path):
    write_files(own, {"selfies/locked.jpg": JPEG})
    (own / "selfies" / "locked.jpg").chmod(0)
    assert outcomes(find_candidates("folder", params_for(own), tmp_path))["locked.jpg"] == "unreadable"


def test_unreadable_folder_stops_or_is_skipped(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    scandir = os.scandir

    def refuse(path: str) -> Any:
        if str(path).endswith("anna"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(SourceError, match=r"collect\.folder\.path: .*/selfies/anna: Permission denied"):
        find_candidates("folder", params_for(own), tmp_path)
    assert {path.name for path in find_files(own / "selfies")} == {"b.jpeg", "z.JPG", ".gitkeep", "3.png"}


@pytest.mark.parametrize("name", source_names())
def test_missing_folder_error_names_key_and_path(name: str, tmp_path: Path):
    values = load(SOURCES[name], f"collect.{name}", ROOT).model_dump() | {"path": tmp_path / "none", "limit": 9}
    cache = FetchCache(HttpClient(FETCH), tmp_path / "cache", name)
    with pytest.raises(SourceError) as error:
        list(load_source(name).candidates(SOURCES[name](**values), cache))
    assert f"collect.{name}.path" in str(error.value)
    assert str(tmp_path / "none") in str(error.value)
    assert " there" in str(error.value)


def test_folder_without_pictures_error_names_key_and_files(own: Path, tmp_path: Path):
    (own / "portraits" / "klimt" / "kiss.tif").rename(own / "portraits" / "kiss.txt")
    (own / "portraits" / "kiss.txt").write_bytes(b"notes")
    with pytest.raises(SourceError) as error:
        find_candidates("folder", params_for(own), tmp_path)
    for part in ("collect.folder.path", str(own / "portraits"), "kiss.txt", "JPEG"):
        assert part in str(error.value)


def test_sample_has_an_exact_mask_for_each_picture(sample: Path, tmp_path: Path):
    candidates = find_candidates("sample", params_for(sample), tmp_path)
    assert len(candidates) == 200
    for candidate in (candidates[0], candidates[-1]):
        assert candidate.read
        assert candidate.truth
        assert candidate.read() == (sample / candidate.kind / candidate.name).read_bytes()
        mask = (sample / "masks" / candidate.kind / candidate.name).with_suffix(".png")
        assert candidate.truth() == mask.read_bytes()
        assert (candidate.licence, candidate.group, candidate.status) == ("CC0-1.0", "", None)


def test_unknown_source_error_lists_the_sources():
    assert len(source_names()) == 14
    with pytest.raises(SourceError, match=r"'gallery'.* baidu, bing, celeba, "):
        load_source("gallery")


def test_untrusted_text_becomes_one_plain_line():
    assert plain_text("<b>Anna</b>\n\u202e& <script>x</script>\x1b[1m") == "Anna & x [1m"
    assert plain_text("=HYPERLINK(1)") == "HYPERLINK(1)"
    assert len(plain_text("x" * 999)) == 300


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("//a.example/x ", "https://a.example/x"), ("http://a.example/a b/画", "http://a.example/a b/画"),
        ("http://a.example/\ud800", ""), ("http://a.example/\n\x00", ""), ("x" * 5000, ""), (5, ""), (None, ""),
    ],
)  # fmt: skip
def test_untrusted_url_is_one_printable_line(value: object, url: str):
    assert get_url({"url": [value]}, "url", 0) == url


# --- identification photos


CONSENT = ["file", "subject_id", "consent", "date", "scope", "minor"]


def with_consents(root: Path, rows: list[list[str]], columns: list[str] = CONSENT) -> CollectParams:
    with (root / "consent.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    return params_for(root)


def test_id_photos_require_consent_of_an_adult(tmp_path: Path):
    write_files(tmp_path, {f"{name}.jpg": JPEG for name in ("yes", "no", "minor", "unknown")} | {"notes": b"x"})
    params = with_consents(
        tmp_path,
        [
            ["yes.jpg", "p1", "yes", "2026-05-04", "training", "no"],
            ["no.jpg", "p2", "no", "2026-05-04", "training", "no"],
            ["minor.jpg", "p3", "yes", "2026-05-04", "training", "yes"],
            ["notes", "p4", "yes", "2026-05-04", "training", "no"],
        ],
    )
    candidates = find_candidates("id_photos", params, tmp_path)
    assert outcomes(candidates) == {
        "yes.jpg": "",
        "no.jpg": "no_consent",
        "minor.jpg": "no_consent",
        "unknown.jpg": "no_consent",
        "notes": "not_a_picture",
    }
    by_name = {candidate.name: candidate for candidate in candidates}
    assert (by_name["yes.jpg"].consent, by_name["yes.jpg"].group) == ("2026-05-04: training", "id_photos/p1")
    assert "consent is 'no'" in by_name["no.jpg"].reason
    assert "minor is 'yes'" in by_name["minor.jpg"].reason
    assert "consent.csv" in by_name["unknown.jpg"].reason


@pytest.mark.parametrize(
    ("rows", "columns", "expected"),
    [
        ([], ["file", "consent"], "'file,consent'.*file,subject_id,"),
        ([], [*CONSENT, "minor"], "minor,minor'.* no column may be repeated"),
        ([["a.jpg", "p1", "yes"]], CONSENT, "line 2: .*6 cells"),
        ([["a.jpg", "", "yes", "2026", "x", "no"]], CONSENT, "line 2: .*subject_id"),
        ([["a.jpg", "p1", "yes", "2026", "x", "no"]] * 2, CONSENT, "line 3: a.jpg"),
        ([["b.jpg", "p1", "yes", "2026", "x", "no"]], CONSENT, "consent.csv .*b.jpg"),
    ],
)
def test_incomplete_consent_list_is_an_error(tmp_path: Path, rows: list[list[str]], columns: list[str], expected: str):
    write_files(tmp_path, {"a.jpg": JPEG})
    with pytest.raises(SourceError, match=expected):
        find_candidates("id_photos", with_consents(tmp_path, rows, columns), tmp_path)


def test_badly_quoted_consent_list_is_an_error(tmp_path: Path):
    write_files(tmp_path, {"a.jpg": JPEG, "consent.csv": f'{",".join(CONSENT)}\na.jpg,"p1"x,yes\n'.encode()})
    with pytest.raises(SourceError, match=r"consent\.csv, line 2: "):
        find_candidates("id_photos", params_for(tmp_path), tmp_path)


@pytest.mark.parametrize("charset", ["utf-8", "utf-8-sig", "gbk"])
def test_consent_list_is_read_in_any_charset(tmp_path: Path, charset: str):
    rows = f"{','.join(CONSENT)}\r\na.jpg,p1,yes,2026-05-04,训练,no\r\n"
    write_files(tmp_path, {"a.jpg": JPEG, "consent.csv": rows.encode(charset)})
    candidates = find_candidates("id_photos", params_for(tmp_path), tmp_path)
    assert [candidate.consent for candidate in candidates] == ["2026-05-04: 训练"]


def test_missing_consent_list_is_an_error(tmp_path: Path):
    write_files(tmp_path, {"a.jpg": JPEG})
    with pytest.raises(SourceError, match=r"consent\.csv is missing; .*file,subject_id,consent"):
        find_candidates("id_photos", params_for(tmp_path), tmp_path)


# --- urls


def test_url_list_provides_metadata(tmp_path: Path):
    text = 'url,kind,author\n"http://a.example/x,y.jpg",portraits,Anna\n http://a.example/z ,selfies,\n'
    (tmp_path / "list.csv").write_text(text, encoding="utf-8")
    first, second = find_candidates("urls", params_for(tmp_path), tmp_path)
    assert (first.url, first.kind, first.author) == ("http://a.example/x,y.jpg", "portraits", "Anna")
    assert (second.url, second.kind) == ("http://a.example/z", "selfies")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("url\nhttp://a.example\n", "'url'.* url,kind; .* name,"),
        ("url,kind,colour\nx,selfies,red\n", "'url,kind,colour'"),
        ("url,kind\nhttp://a.example/x,y.jpg,selfies\n", "line 2: .*2 cells"),
        ("url,kind\nhttp://a.example,cats\n", "line 2: kind is 'cats'.* selfies, portraits"),
        ("url,kind\n ,selfies\n", "line 2: url"),
        ('url,kind\n"http://a.example,selfies\n', "line 2: "),
        ('url,"kind"s\n', r"list\.csv, line 1: "),
    ],
)
def test_malformed_url_list_error_names_the_line(tmp_path: Path, text: str, expected: str):
    (tmp_path / "list.csv").write_text(text, encoding="utf-8")
    with pytest.raises(SourceError, match=expected):
        find_candidates("urls", params_for(tmp_path), tmp_path)


@pytest.mark.parametrize(
    ("author", "charset", "expected"),
    [("画家", "utf-8-sig", "画家"), ("画家", "gbk", "画家"), ("José", "latin-1", "Jos\ufffd")],
)
def test_url_list_is_read_in_any_charset(tmp_path: Path, author: str, charset: str, expected: str):
    (tmp_path / "list.csv").write_bytes(f"url,kind,author\nhttp://a.example/1,selfies,{author}\n".encode(charset))
    (candidate,) = find_candidates("urls", params_for(tmp_path), tmp_path)
    assert (candidate.url, candidate.author) == ("http://a.example/1", expected)


def test_missing_url_list_error_names_the_key(tmp_path: Path):
    with pytest.raises(SourceError, match=r"collect\.urls\.path: .*url,kind"):
        find_candidates("urls", params_for(tmp_path), tmp_path)


# --- CelebA


ATTRIBUTES = ["Blurry", "Eyeglasses", "Male", "Wearing_Hat", "Young"]
FRONTAL = "70 110 108 110 89 130 75 150 104 150"


def make_celeba(root: Path, monkeypatch: pytest.MonkeyPatch, *, packed: bool = False, **lists: str) -> CelebaParams:
    """Write 40 pictures with their names as content, two a person; Male and Young alternate."""
    faces = [f"{number:06d}.jpg" for number in range(1, 41)]
    attributes = {
        name: [-1, -1, 1 if index % 2 else -1, -1, 1 if index % 4 > 1 else -1] for index, name in enumerate(faces)
    }
    attributes["000001.jpg"][1] = attributes["000002.jpg"][3] = attributes["000003.jpg"][0] = 1
    rows = "".join(f"{name} {' '.join(map(str, values))}\n" for name, values in attributes.items())
    texts = {
        "list_attr_celeba.txt": f"40\n{' '.join(ATTRIBUTES)}\n{rows}",
        "identity_CelebA.txt": "".join(f"{name} {(index + 1) // 2}\n" for index, name in enumerate(faces)),
        "list_landmarks_align_celeba.txt": "40\nx y\n" + "".join(f"{name} {FRONTAL}\n" for name in faces),
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
        write_files(root, {f"img_align_celeba/{name}": name.encode() for name in faces})
    digests = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in root.iterdir() if path.is_file()}
    monkeypatch.setattr(celeba, "MD5", digests)
    return celeba_params(root)


def celeba_params(root: Path, **overrides: Any) -> CelebaParams:
    values: dict[str, Any] = {"path": root, "limit": 9, "shard_size": 9, "download": False, "max_roll_degrees": 10}
    values |= {"max_yaw": 0.2, "exclude_attributes": ["Eyeglasses", "Wearing_Hat", "Blurry"]}
    values |= {"balance_attributes": ["Male", "Young"]}
    return CelebaParams(**(values | overrides))


@pytest.mark.parametrize("packed", [False, True])
def test_celeba_selection_follows_the_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool):
    candidates = find_candidates("celeba", make_celeba(tmp_path / "celeba", monkeypatch, packed=packed), tmp_path)
    names = [candidate.name for candidate in candidates]
    numbers = [int(name[:6]) for name in names]
    assert all(candidate.read and candidate.read() == candidate.name.encode() for candidate in candidates)
    assert all(3 < number <= 30 for number in numbers)  # 1 to 3 have an excluded attribute; training ends at 30
    persons = [candidate.group for candidate in candidates]
    assert persons == [f"celeba/{number // 2}" for number in numbers]
    assert len(set(persons)) == len(persons)
    strata = [(number % 2, (number - 1) % 4 > 1) for number in numbers[:8]]
    assert [strata.count(stratum) for stratum in {*strata}] == [2, 2, 2, 2]
    again = find_candidates("celeba", celeba_params(tmp_path / "celeba"), tmp_path)
    assert names == [candidate.name for candidate in again]


@pytest.mark.parametrize(
    "landmarks",
    ["70 110 108 125 89 130 75 150 104 150", "70 110 108 110 100 130 75 150 104 150", "70 110 70 110 70 130 0 0 0 0"],
)
def test_celeba_excludes_rolled_and_turned_heads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, landmarks: str):
    lines = "".join(f"{number:06d}.jpg {FRONTAL if number == 9 else landmarks}\n" for number in range(1, 41))
    params = make_celeba(tmp_path / "celeba", monkeypatch, **{"list_landmarks_align_celeba.txt": f"40\nx y\n{lines}"})
    assert [candidate.name for candidate in find_candidates("celeba", params, tmp_path)] == ["000009.jpg"]


def test_celeba_warns_about_missing_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    missing = {"identity_CelebA.txt": "", "list_landmarks_align_celeba.txt": ""}
    candidates = find_candidates("celeba", make_celeba(tmp_path / "celeba", monkeypatch, **missing), tmp_path)
    assert len(candidates) == 27
    assert {candidate.group for candidate in candidates} == {""}
    warnings = capsys.readouterr().err
    assert all(name in warnings for name in missing)


def test_incomplete_or_changed_celeba_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = tmp_path / "celeba"
    params = make_celeba(root, monkeypatch, packed=True)
    with (root / "img_align_celeba.zip").open("ab") as file:
        file.write(b"<html>quota exceeded</html>")
    with pytest.raises(SourceError, match=r"img_align_celeba\.zip: expected md5 \w+, found \w+"):
        find_candidates("celeba", params, tmp_path)
    (root / "img_align_celeba.zip").unlink()
    with pytest.raises(SourceError, match=r"collect\.celeba\.path: img_align_celeba\.zip missing in "):
        find_candidates("celeba", params, tmp_path)


@pytest.mark.parametrize("key", ["exclude_attributes", "balance_attributes"])
def test_unknown_celeba_attribute_error_names_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str):
    make_celeba(tmp_path / "celeba", monkeypatch)
    with pytest.raises(SourceError, match=rf"collect\.celeba\.{key}: .*'Bald'.* Blurry, Eyeglasses"):
        find_candidates("celeba", celeba_params(tmp_path / "celeba", **{key: ["Bald"]}), tmp_path)


def test_failed_celeba_download_error_gives_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import torchvision.datasets

    def quota_exceeded(root: str, download: bool) -> None:
        assert (root, download) == (str(tmp_path), True)
        raise RuntimeError("quota exceeded")

    monkeypatch.setattr(torchvision.datasets, "CelebA", quota_exceeded)
    (tmp_path / "celeba").mkdir()
    with pytest.raises(SourceError, match=r"RuntimeError: quota exceeded; .*gdown.*" + str(tmp_path / "celeba")):
        find_candidates("celeba", celeba_params(tmp_path / "celeba", download=True), tmp_path)
    with pytest.raises(SourceError, match=r"collect\.celeba\.path is .*other"):
        find_candidates("celeba", celeba_params(tmp_path / "other", download=True), tmp_path)
