"""Screening of single files (also malicious ones), of many files, and by the complete stage."""

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
from scratch_jpeg import progressive_jpeg

from pipeline.clean import main as run_stage
from portraitist.clean.decode import CleanPicture
from portraitist.clean.dedupe import Fingerprint
from portraitist.clean.sandbox import Limits, Sandbox
from portraitist.clean.screening import Screener, make_request, measure, screen
from portraitist.collect.blocklist import Blocklist
from portraitist.core import manifest
from portraitist.core.image_io import decode_png
from portraitist.core.shards import ShardWriter
from portraitist.core.workers import WorkersParams

PARAMS = changed(CLEAN, min_side_px=32, min_sharpness={"selfies": 5, "portraits": 0}, max_aspect=2)
ORIENTATION, GPS, MAKE = 0x0112, 0x8825, 0x010F
LIMITS = Limits(memory_mb=1024, cpu_s=5, wall_s=20.0)


def screened(data, kind="selfies", params=PARAMS, **parts):
    return screen(make_request({"bytes": data, **parts}, kind, params))


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, rows: bytes, *more: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def zeros(size: int) -> bytes:
    """Deflate zero bytes without holding them in memory, by repeating one flushed block."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    blocks, rest = divmod(size, 2**20)
    last = zlib.compressobj(9, zlib.DEFLATED, -15)
    check = struct.pack(">HH", size % 65521, 1)  # RFC 1950, Adler-32 of zeros
    return b"\x78\xda" + block * blocks + last.compress(bytes(rest)) + last.flush() + check


def test_deflated_zeros_have_the_given_size():
    assert zlib.decompress(zeros(3 * 2**20 + 5)) == bytes(3 * 2**20 + 5)


def bomb_of_900_megapixels() -> bytes:
    return png(30000, 30000, zeros(30001 * 30000))


def bomb_within_pixel_limit() -> bytes:
    """A PNG of 49 megapixels of 64 bits: within the limit of pixels, but costly in memory."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 7000, 7000, 16, 6, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zeros((7000 * 8 + 1) * 7000)) + chunk(b"IEND", b"")


def endless_animation() -> bytes:
    """A GIF of 2 MB of tiny frames, without a trailer."""
    one = encoded(Image.fromarray(smooth(1)[..., 0]).quantize(4), "GIF")
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return one[:-1] + frame * (2_000_000 // len(frame))


def text_bomb() -> bytes:
    """A PNG with a compressed comment of 1 GB."""
    return png(64, 64, zlib.compress(bytes(65 * 64)), chunk(b"zTXt", b"Comment\x00\x00" + zeros(2**30)))


def profile_bomb() -> bytes:
    return png(64, 64, zlib.compress(bytes(65 * 64)), chunk(b"iCCP", b"icc\x00\x00" + zeros(2**28)))


def next_field(data: bytes, page: int) -> int:
    """Return where a TIFF page stores the offset of the next one."""
    return page + 2 + 12 * struct.unpack_from("<H", data, page)[0]


def cyclic_tiff() -> bytes:
    """A TIFF whose second page is followed by its first."""
    data = bytearray(encoded(smooth(1), "TIFF", save_all=True, append_images=[Image.fromarray(smooth(2))]))
    first = struct.unpack_from("<I", data, 4)[0]
    offset = first
    while (following := struct.unpack_from("<I", data, next_field(data, offset))[0]) != 0:
        offset = following
    struct.pack_into("<I", data, next_field(data, offset), first)
    return bytes(data)


def photo() -> bytes:
    return encoded(np.random.default_rng(5).integers(0, 256, (64, 80, 3), dtype=np.uint8), "JPEG")


HOSTILE = {
    "bomb_of_900_megapixels": (bomb_of_900_megapixels, {"too_large"}),
    "bomb_within_pixel_limit": (bomb_within_pixel_limit, {"blank", "too_costly"}),
    "endless_animation": (endless_animation, {"animated"}),
    "text_bomb": (text_bomb, {"blank"}),
    "profile_bomb": (profile_bomb, {"not_a_picture", "unreadable", "blank", "too_costly"}),
    "cyclic_tiff": (cyclic_tiff, {"kept", "duplicate"}),  # only the first page is read, which another file contains
    "too_many_bytes": (lambda: photo() + bytes(21_000_000), {"too_large"}),
    "cut_off": (lambda: photo()[:-400], {"unreadable"}),
    "without_last_bytes": (lambda: photo()[:-40], {"unreadable"}),
    "many_scans": (lambda: progressive_jpeg(64, 64, scans=10_000), {"too_costly"}),
    "web_page": (lambda: b"<html><script>alert(1)</script></html>", {"not_a_picture"}),
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
def test_hostile_file_affects_only_its_own_row(name: str):
    make, statuses = HOSTILE[name]
    good, bad = photo(), make()
    with Sandbox("portraitist.clean.screening:screen", LIMITS, 1) as pool:
        requests = [make_request({"bytes": data}, "portraits", PARAMS) for data in (good, bad, good)]
        responses = list(pool.map(requests))
        worker = pool._idle.get()
        memory = Path(f"/proc/{worker.process.pid}/status").read_text()
        pool._idle.put(worker)
    first, found, again = (response.content for response in responses)
    assert first["status"] == again["status"] == "kept"  # the next file is still read
    assert found.get("status", "too_costly") in statuses, found
    assert found.get("status") == "kept" or found.get("reason") or found["died"]
    peak = next(int(line.split()[1]) for line in memory.splitlines() if line.startswith("VmHWM"))
    assert peak < LIMITS.memory_mb * 1024


@pytest.mark.parametrize("name", POLYGLOTS)
def test_only_the_picture_of_a_polyglot_is_kept(name: str):
    data = POLYGLOTS[name]()
    assert b"SECRET" in data or b"<script>" in data
    response = screened(data, "portraits")
    assert response.content["status"] == "kept"
    for member in response.parts.values():
        assert b"SECRET" not in member
        assert b"<script>" not in member
        assert Image.open(io.BytesIO(member)).info == {}


def test_bombs_are_small_files():
    assert len(bomb_of_900_megapixels()) < 1_000_000
    assert len(bomb_within_pixel_limit()) < 1_000_000
    assert len(text_bomb()) < 1_100_000


@pytest.mark.parametrize("orientation", range(1, 9))
def test_ground_truth_mask_is_transformed_with_its_picture(orientation: int):
    half = np.zeros((120, 200), np.uint8)
    half[:50, :120] = 255  # no symmetry
    stored = np.dstack([half, 255 - half, half // 2])
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    for form in ("PNG", "TIFF"):
        data = encoded(stored, form, exif=exif)
        response = screened(
            data,
            "portraits",
            changed(PARAMS, max_side_px=100, min_entropy_bits=0),
            **{"truth.png": encoded(half, "PNG")},
        )
        picture, truth = decode_png(response.parts["png"]), decode_png(response.parts["truth.png"])
        assert truth.shape == picture.shape[:2] == ((60, 100) if orientation < 5 else (100, 60))
        assert abs(picture[..., 0].astype(int) - truth).mean() < 4
        assert (response.content["width"], response.content["height"]) == (
            (200, 120) if orientation < 5 else (120, 200)
        )


def test_size_of_a_nearly_square_picture_is_not_swapped():
    response = screened(encoded(smooth(1, 101, 100), "PNG"), params=changed(PARAMS, max_side_px=100))
    assert (response.content["width"], response.content["height"]) == (100, 101)


@pytest.mark.parametrize("form", ["HEIF", "AVIF"])
def test_heic_and_avif_are_read(form: str):
    picture = smooth(1, 96, 128)
    response = screened(encoded(Image.fromarray(picture), form, quality=95), params=CLEAN)
    assert response.content["status"] == "kept"
    assert (response.content["width"], response.content["height"]) == (128, 96)
    assert np.abs(decode_png(response.parts["png"]).astype(int) - picture).mean() < 5


def test_ground_truth_mask_of_another_shape_is_rejected():
    about = screened(photo(), **{"truth.png": encoded(np.zeros((80, 64), np.uint8), "PNG")}).content
    assert about["status"] == "unreadable"
    assert (
        about["reason"]
        == "a ground-truth mask of 64 x 80 for a picture of 80 x 64; both must have the same aspect ratio"
    )


def test_thresholds_apply_to_measures_in_the_row():
    measured = screened(photo()).content
    assert measured["status"] == "kept"
    assert (measured["width"], measured["height"]) == (80, 64)
    for limits, status in (
        ({"min_sharpness": {"selfies": measured["sharpness"] + 0.01, "portraits": 0}}, "blurred"),
        ({"min_sharpness": {"selfies": 0, "portraits": measured["sharpness"] + 0.01}}, "kept"),
        ({"min_sharpness": {"selfies": measured["sharpness"], "portraits": 0}}, "kept"),
        ({"min_entropy_bits": measured["entropy_bits"] + 0.001}, "blank"),
        ({"max_aspect": 1.24}, "too_long"),
        ({"max_aspect": 1.25}, "kept"),
        ({"min_side_px": 65}, "too_small"),
        ({"max_megapixels": 0.00005}, "too_large"),
        ({"max_megabytes": 0.001}, "too_large"),
    ):
        row = screened(photo(), params=changed(PARAMS, **limits)).content
        assert row["status"] == status
        if "max_megabytes" not in limits:
            assert (row["width"], row["height"]) == (80, 64)
        if status in ("blurred", "blank", "too_long"):
            assert row["sharpness"] == measured["sharpness"]
            assert row["dhash"] == measured["dhash"]
            assert row["reason"]


def test_sharpness_depends_on_blur_but_not_on_size():
    sharp = np.kron(np.random.default_rng(2).integers(0, 256, (64, 64)), np.ones((8, 8))).astype(np.uint8)
    picture = Image.fromarray(np.dstack([sharp] * 3))
    found = [measure(CleanPicture(np.array(one), None)) for one in (
        picture, picture.resize((256, 256), Image.Resampling.BOX), picture.resize((32, 32)).resize((512, 512)),
    )]  # fmt: skip
    assert found[1].sharpness == pytest.approx(found[0].sharpness, rel=0.1)
    assert found[2].sharpness < found[0].sharpness / 20


def test_transparent_pixels_are_not_measured():
    alpha = np.zeros((64, 80), np.uint8)
    alpha[10:50, 10:60] = 255
    busy = np.random.default_rng(1).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    plain = np.where(alpha[..., None] > 0, np.uint8(90), busy)
    assert measure(CleanPicture(plain, None)).entropy_bits > 5
    assert measure(CleanPicture(plain, alpha)).entropy_bits < 2
    assert measure(CleanPicture(busy, np.zeros_like(alpha))).sharpness == 0


def test_colour_is_range_of_channels():
    grey = smooth(1)[..., :1].repeat(3, axis=2)
    assert measure(CleanPicture(grey, None)).colour == 0
    red = np.zeros((40, 56, 3), np.uint8)
    red[..., 0] = 200
    assert measure(CleanPicture(red, None)).colour == 200
    assert measure(CleanPicture(red, None)).entropy_bits == 0


def test_responses_hold_no_metadata():
    exif = Image.Exif()
    exif[MAKE] = "SECRET-CAMERA"
    exif[GPS] = {1: "N", 2: (52.0, 31.0, 12.0), 29: "SECRET-DAY"}
    pixels = np.random.default_rng(5).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    data = encoded(pixels, "JPEG", exif=exif, comment=b"SECRET-COMMENT")
    response = screened(data)
    assert data.count(b"SECRET") == 3
    assert response.content["status"] == "kept"
    assert "SECRET" not in json.dumps(response.content)
    for member in response.parts.values():
        assert b"SECRET" not in member
        with Image.open(io.BytesIO(member)) as picture:
            assert not picture.getexif()


# --- many files


A, B = manifest.picture_id(b"a"), manifest.picture_id(b"b")
ROWS = [
    {"id": A, "group": "", "url": "https://example.org/a.jpg", "data": b"a"},
    {"id": A, "group": "selfies/anna", "url": "", "data": b"a"},
    {"id": B, "group": "", "url": "https://example.org/b.jpg", "data": b"b"},
    {"id": B, "group": "", "url": "https://elsewhere.test/b.jpg", "data": b"b"},
]


def prefiltered(*lines: str) -> list[str]:
    outcomes = Screener(Blocklist.of(lines), PARAMS).prefilter(pd.DataFrame(ROWS), lambda row: row["data"])
    return [str(outcome.get("status", "")) for outcome in outcomes]


def test_repeated_bytes_are_a_duplicate():
    assert prefiltered() == ["", "duplicate", "", "duplicate"]
    status = Screener(Blocklist(), PARAMS).prefilter(pd.DataFrame(ROWS), lambda row: row["data"])[1]
    assert status == {"status": "duplicate", "same_as": A, "relation": "bytes"}


@pytest.mark.parametrize(
    ("line", "statuses"),
    [
        (
            "subject:selfies/anna",
            ["blocklisted", "blocklisted", "", "duplicate"],
        ),  # equal bytes are blocked in every row
        ("host:elsewhere.test", ["", "duplicate", "blocklisted", "blocklisted"]),
        ("url:https://example.org/a.jpg", ["blocklisted", "blocklisted", "", "duplicate"]),
        (f"sha256:{hashlib.sha256(b'b').hexdigest()}", ["", "duplicate", "blocklisted", "blocklisted"]),
        (f"sha256:{B}", ["", "duplicate", "blocklisted", "blocklisted"]),
        (f"sha256:{B}{'0' * 48}", ["", "duplicate", "", "duplicate"]),
    ],
)
def test_blocklisted_rows_are_not_decoded(line: str, statuses: list[str]):
    assert prefiltered(line) == statuses


def test_reason_is_the_blocklist_entry():
    statuses = Screener(Blocklist.of(["subject:selfies/anna"]), PARAMS).prefilter(
        pd.DataFrame(ROWS), lambda row: row["data"]
    )
    assert statuses[0] == {"status": "blocklisted", "reason": "subject:selfies/anna"}


def test_files_are_read_only_if_their_id_is_blocked():
    read = []
    screener = Screener(Blocklist.of([f"sha256:{hashlib.sha256(b'b').hexdigest()}"]), PARAMS)
    screener.prefilter(pd.DataFrame(ROWS), lambda row: read.append(row["id"]) or row["data"])
    assert read == [B, B]


def test_blocked_hash_matches_mirrored_picture():
    picture = smooth(1, 96, 128)
    responses = [
        screened(encoded(np.ascontiguousarray(pixels), "PNG"), "portraits").content
        for pixels in (picture, picture[:, ::-1], smooth(2, 96, 128))
    ]
    screener = Screener(Blocklist.of([f"dhash:{responses[0]['dhash']}:2"]), PARAMS)
    prints = [Fingerprint.parse_all(bytes.fromhex(response["fingerprints"])) for response in responses]
    outcomes = [screener.check_near_duplicates(name, some) for name, some in zip("abc", prints, strict=True)]
    assert [outcome.get("status") for outcome in outcomes] == ["blocklisted", "blocklisted", None]


# --- the stage


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output of stage `collect`: twelve good files, all malicious ones, and files that are valid in two formats."""
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


def run(raw: Path, at: Path, processes: int) -> dict[str, bytes]:
    """Run the stage, and return all files that it wrote."""
    at.mkdir()
    workers = WorkersParams(backend="joblib", processes=processes)
    params = changed(PARAMS, min_sharpness={"selfies": 0, "portraits": 0}, task_memory_mb=1024)
    run_stage(
        params,
        workers,
        [raw / "web"],
        *(at / name for name in ("blocklist.txt", "clean", "clean.json", "collect.json")),
    )
    return {path.relative_to(at).as_posix(): path.read_bytes() for path in sorted(at.rglob("*")) if path.is_file()}


@pytest.mark.slow
def test_stage_survives_hostile_files_with_any_worker_count(attacked: Path, tmp_path: Path):
    made = {processes: run(attacked, tmp_path / str(processes), processes) for processes in (1, 3)}
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
    assert not list(tmp_path.rglob(".partial-*"))
