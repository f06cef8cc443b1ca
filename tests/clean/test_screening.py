"""One collected file, whatever it is: cleaned, measured, judged, or refused by name; and which of many go on."""

import hashlib
import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from drawn import CLEAN, changed, encoded, smooth
from PIL import Image

from pipeline.clean import main as stage
from portraitist.clean import sandbox
from portraitist.clean.decode import CleanPicture
from portraitist.clean.sandbox import Limits, Message, Sandbox
from portraitist.clean.screening import Screener, make_request, measure, screen
from portraitist.collect.blocklist import Blocklist
from portraitist.core import manifest
from portraitist.core.image_io import decode_png
from portraitist.core.shards import ShardWriter

PARAMS = changed(CLEAN, min_side_px=32, min_sharpness={"selfies": 5, "portraits": 0}, max_aspect=2)
ORIENTATION, GPS, MAKE = 0x0112, 0x8825, 0x010F
LIMITS = Limits(memory_mb=1024, cpu_s=5, wall_s=20.0)


def told(data, kind="selfies", params=PARAMS, **parts):
    return screen(make_request({"bytes": data, **parts}, kind, "all", params))


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, rows: bytes, *more: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def zeros(size: int) -> bytes:
    """So many zero bytes, deflated without ever being in memory: one flushed block, again and again."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    whole, rest = divmod(size, 2**20)
    last = zlib.compressobj(9, zlib.DEFLATED, -15)
    check = struct.pack(">HH", size % 65521, 1)  # RFC 1950, Adler-32 of zeros
    return b"\x78\xda" + block * whole + last.compress(bytes(rest)) + last.flush() + check


def test_the_bombs_are_made_of_what_they_say():
    assert zlib.decompress(zeros(3 * 2**20 + 5)) == bytes(3 * 2**20 + 5)


def bomb_of_900_megapixels() -> bytes:
    return png(30000, 30000, zeros(30001 * 30000))


def bomb_within_the_bounds() -> bytes:
    """Fifty megapixels of 64 bits each: what passes the bound for pixels and not that for memory."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 7000, 7000, 16, 6, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zeros((7000 * 8 + 1) * 7000)) + chunk(b"IEND", b"")


def film_without_end() -> bytes:
    """A GIF of as many frames as go into two megabytes, with no last one."""
    one = encoded(Image.fromarray(smooth(1)[..., 0]).quantize(4), "GIF")
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return one[:-1] + frame * (2_000_000 // len(frame))


def text_bomb() -> bytes:
    """A PNG whose comment is a gigabyte, deflated."""
    return png(64, 64, zlib.compress(bytes(65 * 64)), chunk(b"zTXt", b"Comment\x00\x00" + zeros(2**30)))


def profile_bomb() -> bytes:
    return png(64, 64, zlib.compress(bytes(65 * 64)), chunk(b"iCCP", b"icc\x00\x00" + zeros(2**28)))


def ring_of_pages() -> bytes:
    """A TIFF whose second page says that the first comes after it."""
    data = bytearray(encoded(smooth(1), "TIFF", save_all=True, append_images=[Image.fromarray(smooth(2))]))
    first = struct.unpack_from("<I", data, 4)[0]
    at = first
    while (following := struct.unpack_from("<I", data, at + 2 + 12 * struct.unpack_from("<H", data, at)[0])[0]) != 0:
        at = following
    struct.pack_into("<I", data, at + 2 + 12 * struct.unpack_from("<H", data, at)[0], first)
    return bytes(data)


def photo() -> bytes:
    return encoded(np.random.default_rng(5).integers(0, 256, (64, 80, 3), dtype=np.uint8), "JPEG")


HOSTILE = {
    "bomb_of_900_megapixels": (bomb_of_900_megapixels, {"too_large"}),
    "bomb_within_the_bounds": (bomb_within_the_bounds, {"blank", "too_costly"}),
    "film_without_end": (film_without_end, {"animated"}),
    "text_bomb": (text_bomb, {"not_a_picture", "unreadable", "blank"}),
    "profile_bomb": (profile_bomb, {"not_a_picture", "unreadable", "blank", "too_costly"}),
    "ring_of_pages": (ring_of_pages, {"animated"}),
    "too_many_bytes": (lambda: photo() + bytes(21_000_000), {"too_large"}),
    "cut_off": (lambda: photo()[:-400], {"unreadable"}),
    "without_its_last_bytes": (lambda: photo()[:-2], {"unreadable"}),
    "page_with_a_pictures_name": (lambda: b"<html><script>alert(1)</script></html>", {"not_a_picture"}),
    "svg": (
        lambda: b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        {"not_a_picture"},
    ),
    "postscript": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\nshowpage\n", {"not_a_picture"}),
    "empty": (lambda: b"", {"not_a_picture"}),
    "first_bytes_only": (lambda: b"\xff\xd8\xff\xe0", {"not_a_picture"}),
}
POLYGLOTS = {
    "jpeg_and_zip": lambda: photo() + b"PK\x03\x04SECRET-ZIP",
    "jpeg_and_page": lambda: photo()[:2] + b"\xff\xfe\x00\x16<script>SECRET-PAGE" + b"<" + photo()[2:],
    "gif_and_script": lambda: encoded(smooth(3, 64, 80)[..., 0], "GIF", comment=b"*/=1;SECRET-SCRIPT//"),
    "png_and_text": lambda: encoded(smooth(4, 64, 80), "PNG") + b"SECRET-TAIL",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_costs_one_row_in_bounded_time_and_memory(name: str):
    make, statuses = HOSTILE[name]
    good, bad = photo(), make()
    with Sandbox("portraitist.clean.screening:screen", LIMITS, 1) as children:
        told = [
            make_request({"bytes": data}, "portraits", look, PARAMS)
            for data in (good, bad, good)
            for look in ("area", "all")
        ]
        answers = list(children.map(told))
        after = [answer.about for answer in answers[1::2]]
        child = children.idle.get()
        memory = Path(f"/proc/{child.process.pid}/status").read_text()
        children.idle.put(child)
    sieve = Screener(Blocklist(), PARAMS)
    first, bad_row, again = (sieve.after(name, answer) for name, answer in zip("abc", answers[1::2], strict=True))
    assert first["status"] == "kept"
    assert again["status"] == "duplicate"  # the file after the bad one was read as well as that before it
    assert bad_row["status"] in statuses, after[1]
    assert bad_row["reason"]
    peak = next(int(line.split()[1]) for line in memory.splitlines() if line.startswith("VmHWM"))
    assert peak < LIMITS.memory_mb * 1024


@pytest.mark.parametrize("name", POLYGLOTS)
def test_of_a_polyglot_only_the_picture_is_left(name: str):
    data = POLYGLOTS[name]()
    assert b"SECRET" in data or b"<script>" in data
    answer = told(data, "portraits")
    assert answer.about["status"] == "kept"
    for member in answer.parts.values():
        assert b"SECRET" not in member
        assert b"<script>" not in member
        assert Image.open(io.BytesIO(member)).info == {}


def test_no_bomb_is_as_large_as_what_it_becomes():
    assert len(bomb_of_900_megapixels()) < 1_000_000
    assert len(bomb_within_the_bounds()) < 1_000_000
    assert len(text_bomb()) < 1_100_000


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_exact_mask_is_turned_and_scaled_with_its_picture(orientation: int):
    half = np.zeros((120, 200), np.uint8)
    half[:50, :120] = 255  # no symmetry
    stored = np.dstack([half, 255 - half, half // 2])
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    for form in ("PNG", "TIFF"):
        data = encoded(stored, form, exif=exif)
        answer = told(
            data,
            "portraits",
            changed(PARAMS, max_side_px=100, min_entropy_bits=0),
            **{"truth.png": encoded(half, "PNG")},
        )
        picture, truth = decode_png(answer.parts["png"]), decode_png(answer.parts["truth.png"])
        assert truth.shape == picture.shape[:2] == ((60, 100) if orientation < 5 else (100, 60))
        assert abs(picture[..., 0].astype(int) - truth).mean() < 4
        assert (answer.about["width"], answer.about["height"]) == ((200, 120) if orientation < 5 else (120, 200))


def test_an_exact_mask_of_another_shape_is_refused_with_its_picture():
    about = told(photo(), **{"truth.png": encoded(np.zeros((80, 64), np.uint8), "PNG")}).about
    assert about["status"] == "unreadable"
    assert about["reason"] == "an exact mask of 64 x 80 for a picture of 80 x 64"


def test_measures_stand_in_the_row_and_thresholds_decide_by_them():
    about = told(photo()).about
    assert about["status"] == "kept"
    assert (about["width"], about["height"]) == (80, 64)
    for bounds, status in (
        ({"min_sharpness": {"selfies": about["sharpness"] + 0.01, "portraits": 0}}, "blurred"),
        ({"min_sharpness": {"selfies": 0, "portraits": about["sharpness"] + 0.01}}, "kept"),
        ({"min_sharpness": {"selfies": about["sharpness"], "portraits": 0}}, "kept"),
        ({"min_entropy_bits": about["entropy_bits"] + 0.001}, "blank"),
        ({"max_aspect": 1.24}, "too_long"),
        ({"max_aspect": 1.25}, "kept"),
        ({"min_side_px": 65}, "too_small"),
        ({"max_megapixels": 0.005}, "too_large"),
        ({"max_megabytes": 0.001}, "too_large"),
    ):
        other = told(photo(), params=changed(PARAMS, **bounds)).about
        assert other["status"] == status
        if "max_megabytes" not in bounds:
            assert (other["width"], other["height"]) == (80, 64)
        if status in ("blurred", "blank", "too_long"):
            assert other["sharpness"] == about["sharpness"]
            assert other["dhash"] == about["dhash"]
            assert other["reason"]


def test_sharpness_falls_with_blur_and_not_with_size():
    sharp = np.kron(np.random.default_rng(2).integers(0, 256, (64, 64)), np.ones((8, 8))).astype(np.uint8)
    picture = Image.fromarray(np.dstack([sharp] * 3))
    found = [measure(CleanPicture(np.array(one), None)) for one in (
        picture, picture.resize((256, 256), Image.Resampling.BOX), picture.resize((32, 32)).resize((512, 512)),
    )]  # fmt: skip
    assert found[1].sharpness == pytest.approx(found[0].sharpness, rel=0.1)
    assert found[2].sharpness < found[0].sharpness / 20


def test_what_the_alpha_hides_is_not_measured():
    alpha = np.zeros((64, 80), np.uint8)
    alpha[10:50, 10:60] = 255
    busy = np.random.default_rng(1).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    plain = np.where(alpha[..., None] > 0, np.uint8(90), busy)
    assert measure(CleanPicture(plain, None)).entropy_bits > 5
    assert measure(CleanPicture(plain, alpha)).entropy_bits < 2
    assert measure(CleanPicture(busy, np.zeros_like(alpha))).sharpness == 0


def test_colour_is_the_spread_of_the_channels():
    grey = smooth(1)[..., :1].repeat(3, axis=2)
    assert measure(CleanPicture(grey, None)).colour == 0
    red = np.zeros((40, 56, 3), np.uint8)
    red[..., 0] = 200
    assert measure(CleanPicture(red, None)).colour == 200
    assert measure(CleanPicture(red, None)).entropy_bits == 0


def test_exif_and_place_are_in_no_answer():
    exif = Image.Exif()
    exif[MAKE] = "SECRET-CAMERA"
    exif[GPS] = {1: "N", 2: (52.0, 31.0, 12.0), 29: "SECRET-DAY"}
    pixels = np.random.default_rng(5).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    data = encoded(pixels, "JPEG", exif=exif, comment=b"SECRET-COMMENT")
    answer = told(data)
    assert data.count(b"SECRET") == 3
    assert answer.about["status"] == "kept"
    assert "SECRET" not in json.dumps(answer.about)
    for member in answer.parts.values():
        assert b"SECRET" not in member
        with Image.open(io.BytesIO(member)) as picture:
            assert not picture.getexif()


# --- of many


ROWS = [
    {"id": "a1", "group": "", "url": "https://example.org/a.jpg", "data": b"a"},
    {"id": "a1", "group": "selfies/anna", "url": "", "data": b"a"},
    {"id": "b2", "group": "", "url": "https://example.org/b.jpg", "data": b"b"},
    {"id": "b2", "group": "", "url": "https://elsewhere.test/b.jpg", "data": b"b"},
]


def before(*lines: str) -> list[str]:
    sieve = Screener(Blocklist.of(lines), PARAMS)
    statuses = sieve.before(pd.DataFrame(ROWS), lambda row: row["data"])
    return [str(status.get("status", "")) for status in statuses]


def test_bytes_that_came_before_are_a_duplicate_and_what_they_repeat_is_told():
    assert before() == ["", "duplicate", "", "duplicate"]
    status = Screener(Blocklist(), PARAMS).before(pd.DataFrame(ROWS), lambda row: row["data"])[1]
    assert status == {"status": "duplicate", "same_as": "a1", "relation": "bytes"}


@pytest.mark.parametrize(
    ("line", "statuses"),
    [
        ("subject:selfies/anna", ["blocklisted", "blocklisted", "", "duplicate"]),  # bytes blocked in one place, in all
        ("host:elsewhere.test", ["", "duplicate", "blocklisted", "blocklisted"]),
        ("url:https://example.org/a.jpg", ["blocklisted", "blocklisted", "", "duplicate"]),
        (f"sha256:{hashlib.sha256(b'b').hexdigest()}", ["", "duplicate", "blocklisted", "blocklisted"]),
    ],
)
def test_what_is_blocked_is_not_even_opened(line: str, statuses: list[str]):
    assert before(line) == statuses


def test_a_row_says_which_line_of_the_list_it_met():
    statuses = Screener(Blocklist.of(["subject:selfies/anna"]), PARAMS).before(
        pd.DataFrame(ROWS), lambda row: row["data"]
    )
    assert statuses[0] == {"status": "blocklisted", "reason": "subject:selfies/anna"}


def test_a_look_that_is_blocked_goes_no_further_in_a_mirror_either():
    picture = smooth(1, 96, 128)
    answer = told(encoded(picture, "PNG"), "portraits")
    mirror = told(encoded(np.ascontiguousarray(picture[:, ::-1]), "PNG"), "portraits")
    other = told(encoded(smooth(2, 96, 128), "PNG"), "portraits")
    sieve = Screener(Blocklist.of([f"dhash:{answer.about['dhash']}:2"]), PARAMS)
    assert [sieve.after(name, one)["status"] for name, one in (("a", answer), ("b", mirror), ("c", other))] == [
        "blocklisted",
        "blocklisted",
        "kept",
    ]


def test_one_that_its_child_died_of_is_too_costly():
    row = Screener(Blocklist(), PARAMS).after("a", Message({"died": "stopped after 3 s"}, {}))
    assert row == {"status": "too_costly", "reason": "stopped after 3 s"}


# --- the stage


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What collect leaves when every hostile file and every polyglot came in among a dozen good ones."""
    raw = tmp_path_factory.mktemp("attacked") / "raw"
    good = {f"good_{seed}": encoded(smooth(seed, 96, 128), "PNG") for seed in range(12)}
    bad = {name: make() for name, (make, _) in HOSTILE.items()} | {name: make() for name, make in POLYGLOTS.items()}
    rows = []
    with ShardWriter(raw / "web", 7) as shards:
        for number, (name, data) in enumerate(sorted((good | bad).items())):
            shards.add(manifest.picture_id(data), {"bytes": data})
            about = {"id": manifest.picture_id(data), "name": name, "status": "kept", "source": "web"}
            rows.append(about | {"kind": manifest.KINDS[number % 2]})
    manifest.write(rows, raw / "web" / "manifest.csv", ["id", "kind", "source", "name", "status", "url", "group"])
    return raw


def run(raw: Path, at: Path) -> dict[str, bytes]:
    """All files of the stage, run here."""
    at.mkdir()
    params = changed(PARAMS, min_sharpness={"selfies": 0, "portraits": 0}, task_memory_mb=1024)
    stage(params, raw, *(at / name for name in ("blocklist.txt", "clean", "clean.json", "collect.json")))
    return {path.relative_to(at).as_posix(): path.read_bytes() for path in sorted(at.rglob("*")) if path.is_file()}


@pytest.mark.slow
def test_each_bad_file_costs_its_row_and_the_stage_ends_well_with_any_number_of_children(
    attacked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made = {}
    for children in (1, 3):
        monkeypatch.setattr(sandbox, "cores", lambda children=children: children)
        made[children] = run(attacked, tmp_path / str(children))
    assert made[1] == made[3]
    clean = manifest.read(tmp_path / "1" / "clean" / "manifest.csv").set_index("id")
    statuses = {
        row["name"]: clean.loc[row["id"], "status"]
        for row in manifest.to_records(manifest.read(attacked / "web" / "manifest.csv"))
    }
    assert len(statuses) == 12 + len(HOSTILE) + len(POLYGLOTS)
    assert {status for name, status in statuses.items() if name.startswith("good")} == {"kept"}
    for name, (_, allowed) in HOSTILE.items():
        assert statuses[name] in allowed | {"blank"}
    counts = json.loads(made[1]["clean.json"])
    assert sum(counts["sources"]["web"].values()) == len(statuses)
    assert not any(b"SECRET" in data or b"<script>" in data for data in made[1].values())
    assert not list(tmp_path.rglob("*.partial"))
