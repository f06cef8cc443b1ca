"""Saved reviews become pictures and pairs, and no personal data of the reviewers is in any output."""

import base64
import io
import json
import re
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn import encoded, smooth
from fakeweb import FakeWeb, Reply, fake_web
from PIL import Image
from scratch_jpeg import progressive_jpeg

from pipeline import collect as stage
from portraitist.collect import ssrf
from portraitist.collect.candidate import SourceError
from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.params import TaobaoParams
from portraitist.core import manifest
from portraitist.core.image_io import decode_png
from portraitist.core.shards import Shards
from portraitist.sources.helpers.collage import find_seam, split_collage

PRIVATE = ("小明***88", "s3cr3t-cookie", "画得真像", "avatar-of-anna", "u-77345", "_m_h5_tk")
CDN = "https://img.alicdn.com/bao/uploaded"


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeWeb]:
    monkeypatch.setattr(ssrf, "context", ssl._create_unverified_context)
    monkeypatch.setattr(FetchCache, "limit_rate", lambda *_: None)
    with fake_web(tmp_path) as hosts:
        yield hosts


def picture(seed: int) -> bytes:
    return encoded(smooth(seed, 120, 90), "JPEG")


def collage(seed: int) -> bytes:
    """Return a dark photo beside a light painting, so that the whole seam between them is an edge."""
    left, right = smooth(seed, 200, 160) // 3, 255 - smooth(seed + 1, 200, 160) // 3
    return encoded(np.concatenate([left, right], axis=1), "PNG")


def feed_rate_list() -> str:
    """rate.taobao.com/feedRateList.htm."""
    review = {
        "rateId": 100001, "content": PRIVATE[2], "date": "2026年05月04日 10:00",
        "user": {"nick": PRIVATE[0], "avatar": f"//img.alicdn.com/{PRIVATE[3]}.jpg", "userId": PRIVATE[4]},
        "photos": [
            {
                "url": "//img.alicdn.com/bao/uploaded/1.jpg_400x400.jpg",
                "thumbnail": "//img.alicdn.com/bao/uploaded/1.jpg_40x40.jpg",
            },
            {"thumbnail": "//img.alicdn.com/bao/uploaded/2.jpg_40x40.jpg", "fileId": 5},
        ],
        "append": {"content": PRIVATE[2], "photos": [{"url": "//img.alicdn.com/bao/uploaded/3.jpg_400x400.jpg"}]},
        "appendList": [{"photos": [{"url": "//img.alicdn.com/bao/uploaded/4.jpg_400x400.jpg"}]}],
    }  # fmt: skip
    content = {"maxPage": 1, "currentPageNum": 1, "total": 1, "comments": [review, {"rateId": 2, "content": "好"}]}
    return f"jsonp_tbcrate_reviews_list({json.dumps(content, ensure_ascii=False)})"


def list_detail_rate() -> str:
    """rate.tmall.com/list_detail_rate.htm."""
    review = {
        "id": 200001, "displayUserNick": PRIVATE[0], "rateContent": PRIVATE[2], "userInfo": PRIVATE[4],
        "pics": ["//img.alicdn.com/bao/uploaded/5.jpg", "//img.alicdn.com/bao/uploaded/6.png"],
        "appendComment": {"content": PRIVATE[2], "pics": ["//img.alicdn.com/bao/uploaded/7.jpg"]},
    }  # fmt: skip
    content = {"rateDetail": {"paginator": {"page": 1, "lastPage": 1, "items": 1}, "rateList": [review]}}
    return f"\n\njsonp128({json.dumps(content, ensure_ascii=False)});\n"


def mtop() -> str:
    """mtop.taobao.rate.detaillist.get."""
    review = {
        "id": "300001", "userNick": PRIVATE[0], "feedback": PRIVATE[2],
        "headPicUrl": f"//img.alicdn.com/{PRIVATE[3]}.jpg",
        "feedPicPathList": ["//img.alicdn.com/bao/uploaded/8.jpg"],
        "appendedFeed": {
            "appendedFeedback": PRIVATE[2], "appendFeedPicPathList": ["//img.alicdn.com/bao/uploaded/9.jpg"],
        },
        "video": {"cloudVideoUrl": "//cloud.video.taobao.com/v.mp4"},
    }  # fmt: skip
    other = {"id": "300002", "feedPicList": [{"thumbnail": "//img.alicdn.com/bao/uploaded/10.jpg_90x90.jpg_.webp"}]}
    content = {
        "api": "mtop.taobao.rate.detaillist.get",
        "v": "6.0",
        "ret": ["SUCCESS::调用成功"],
        "data": {"hasNext": "false"},
    }
    content["data"] |= {"rateList": [review, other]}
    return f" mtopjsonp3({json.dumps(content, ensure_ascii=False)})"


RESPONSES = {
    "https://rate.taobao.com/feedRateList.htm?auctionNumId=777001&userNumId=1&callback=jsonp_x": feed_rate_list(),
    "https://rate.tmall.com/list_detail_rate.htm?itemId=777002&sellerId=1&currentPage=1": list_detail_rate(),
    'https://h5api.m.tmall.com/h5/mtop.taobao.rate.detaillist.get/6.0/?data={"auctionNumId":"777003"}': mtop(),
}


def entry(url: str, text: str | bytes) -> dict[str, Any]:
    content = {"text": text, "mimeType": "x"}
    if isinstance(text, bytes):
        content = {"text": base64.b64encode(text).decode(), "encoding": "base64", "mimeType": "image/jpeg"}
    cookies = [{"name": "_m_h5_tk", "value": PRIVATE[1]}]
    headers = [{"name": "Cookie", "value": f"_m_h5_tk={PRIVATE[1]}"}, {"name": "User-Agent", "value": "Mozilla"}]
    return {
        "request": {"method": "GET", "url": url, "cookies": cookies, "headers": headers},
        "response": {"status": 200, "cookies": cookies, "headers": headers, "content": content},
    }


def saved_har(folder: Path) -> None:
    """Save the three responses, full pictures, thumbnails, an avatar, and unrelated resources."""
    entries = [entry(url, text) for url, text in RESPONSES.items()]
    entries += [
        entry("https://g.alicdn.com/app.js", "var a = 1"),
        entry(f"{CDN}/1.jpg_40x40.jpg", picture(90)),
        entry(f"{CDN}/1.jpg_800x800.jpg", picture(1)),
        entry(f"{CDN}/1.jpg_400x400.jpg", picture(91)),
        entry(f"{CDN}/2.jpg_40x40.jpg", picture(92)),
        entry(f"{CDN}/5.jpg", collage(5)),
        entry(f"https://img.alicdn.com/{PRIVATE[3]}.jpg", picture(93)),
        entry("https://log.mmstat.com/x", PRIVATE[4]),
    ]
    folder.mkdir(parents=True)
    (folder / "reviews.har").write_text(json.dumps({"log": {"version": "1.2", "entries": entries}}), encoding="utf-8")


def collect(web: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **overrides: Any) -> Any:
    """Run stage collect in tmp_path and return its manifest."""
    monkeypatch.chdir(tmp_path)
    values: dict[str, Any] = {"path": Path("saved"), "limit": 99, "shard_size": 9, "min_seam": 0.95}
    params = TaobaoParams(**(values | {"photo_side": "left"} | overrides))
    stage.collect("taobao", params, web.web(), tmp_path / "out")
    return manifest.read(tmp_path / "out" / "manifest.csv")


def test_har_of_three_formats_becomes_pictures_and_a_pair(
    web: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    saved_har(tmp_path / "saved")
    for number in (2, 3, 4, 6, 7, 8, 9, 10):
        web.pages[f"img.alicdn.com/bao/uploaded/{number}.{'png' if number == 6 else 'jpg'}"] = Reply(picture(number))
    frame = collect(web, tmp_path, monkeypatch)
    assert list(frame["status"]) == ["kept"] * 4 + ["split"] + ["kept"] * 7
    shards = Shards(tmp_path / "out")
    by_url = {row["url"]: row for row in frame.to_dict("records") if row["status"] == "kept" and not row["pair"]}
    for number in (1, 2, 3, 4, 7, 8, 9, 10):
        assert shards.read(by_url[f"{CDN}/{number}.jpg"]["id"], "bytes") == picture(number)
    items = [name.partition("/")[0] for name in frame["name"]]
    assert items == ["777001"] * 4 + ["777002"] * 5 + ["777003"] * 3
    groups = list(frame["group"])
    assert [len(set(groups[start:end])) for start, end in ((0, 4), (4, 9), (9, 11))] == [1, 1, 1]
    assert len(set(groups)) == 4
    assert all(re.fullmatch(r"taobao/[0-9a-f]{12}", group) for group in groups)

    collage_row, photo, painting = frame[frame["pair"] != ""].to_dict("records")
    assert (collage_row["status"], photo["kind"], painting["kind"]) == ("split", "selfies", "portraits")
    assert {collage_row["pair"], photo["pair"], painting["pair"]} == {collage_row["id"]}
    halves = [decode_png(shards.read(row["id"], "bytes")) for row in (photo, painting)]
    assert abs(halves[0].shape[1] - 160) <= 3
    assert halves[0].mean() < 100
    assert halves[1].mean() > 160

    # pictures that the HAR contains in full were not downloaded; each other picture was, once
    assert sorted(web.requested_paths()) == sorted(
        f"/bao/uploaded/{n}.{'png' if n == 6 else 'jpg'}" for n in (2, 3, 4, 6, 7, 8, 9, 10)
    )
    assert all(set(request.headers) <= {"Host", "User-Agent", "Accept", "Accept-Encoding"} for request in web.log)


def test_no_personal_data_in_outputs_or_requests(
    web: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    saved_har(tmp_path / "saved")
    web.pages["img.alicdn.com"] = lambda path: Reply(picture(int(re.findall(r"\d+", path)[-1])))
    collect(web, tmp_path, monkeypatch)
    outputs, stored = (
        [path.read_bytes() for path in (tmp_path / name).rglob("*") if path.is_file()]
        for name in ("out", ".fetch-cache")
    )
    messages = "".join(capfd.readouterr()).encode() + repr(web.log).encode()
    assert len(outputs) > 3
    assert len(stored) > 16
    for data in (*outputs, *stored, messages):
        for private in PRIVATE:
            assert private.encode() not in data
            assert private.encode("unicode_escape") not in data
    assert b"300001" not in b"".join(outputs)  # the number of the review is not stored, either


@pytest.mark.parametrize("suffix", ["json", "jsonp", "js"])
@pytest.mark.parametrize(("response", "count"), [(feed_rate_list(), 4), (list_detail_rate(), 3), (mtop(), 3)])
@pytest.mark.parametrize("charset", ["utf-8", "gb18030"])
def test_saved_bodies_are_read_in_each_format(
    web: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, response: str, count: int, charset: str
):
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / f"response.{suffix}").write_bytes(response.encode(charset))
    web.pages["img.alicdn.com"] = lambda path: Reply(picture(int(re.findall(r"\d+", path)[-1])))
    frame = collect(web, tmp_path, monkeypatch)
    assert list(frame["status"]) == ["kept"] * count
    assert all(url.startswith(f"{CDN}/") and "x400" not in url for url in frame["url"])


def test_scaled_copy_replaces_a_missing_original(web: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "list.txt").write_text(f"{CDN}/1.jpg_400x400.jpg\n\n{CDN}/2.jpg\n", encoding="utf-8")
    web.pages["img.alicdn.com/bao/uploaded/1.jpg_400x400.jpg"] = Reply(picture(1))
    web.pages["img.alicdn.com/bao/uploaded/2.jpg"] = Reply(picture(2))
    frame = collect(web, tmp_path, monkeypatch)
    assert list(frame["final_url"]) == [f"{CDN}/1.jpg_400x400.jpg", f"{CDN}/2.jpg"]
    assert list(frame["url"]) == [f"{CDN}/1.jpg", f"{CDN}/2.jpg"]


def test_downloaded_collage_is_split(web: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "list.csv").write_text(f"url\n{CDN}/1.jpg\n", encoding="utf-8")
    web.pages["img.alicdn.com/bao/uploaded/1.jpg"] = Reply(collage(1))
    frame = collect(web, tmp_path, monkeypatch)
    assert list(frame["status"]) == ["split", "kept", "kept"]
    assert set(frame["url"]) == {f"{CDN}/1.jpg"}
    times = manifest.read(tmp_path / "out" / "fetched.csv")
    assert list(times["id"]) == list(frame["id"])[:1]


def test_url_list_is_read_in_any_charset(web: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "list.txt").write_bytes(f"{CDN}/1.jpg,买家\n".encode("gbk"))
    web.pages["img.alicdn.com/bao/uploaded/1.jpg"] = Reply(picture(1))
    assert list(collect(web, tmp_path, monkeypatch)["url"]) == [f"{CDN}/1.jpg"]


def test_saved_pictures_are_grouped_by_folder(web: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, data in {"a.jpg": picture(1), "r1/b.jpg": picture(2), "r1/c.png": collage(3)}.items():
        (tmp_path / "saved" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "saved" / name).write_bytes(data)
    frame = collect(web, tmp_path, monkeypatch, photo_side="right")
    assert list(frame["group"]) == ["", *["taobao/r1"] * 4]
    assert list(frame["kind"][2:]) == ["portraits", "portraits", "selfies"]
    assert web.log == []


REFUSALS = [
    '{"rgv587_flag":"sm","url":"https://rate.tmall.com/punish?x5secdata=abc"}',
    'mtopjsonp1({"api":"mtop","ret":["FAIL_SYS_USER_VALIDATE::哎哟喂,被挤爆啦"],"data":{"url":"https://h5api/punish"}})',
    'mtopjsonp1({"ret":["RGV587_ERROR::SM::哎哟喂,被挤爆啦,请稍后重试"]})',
]


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("as_har", [False, True])
def test_captcha_page_error_names_file_and_marker(
    web: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: str, as_har: bool
):
    (tmp_path / "saved").mkdir()
    content = json.dumps({"log": {"entries": [entry(next(iter(RESPONSES)), refusal)]}}) if as_har else refusal
    (tmp_path / "saved" / f"reviews.{'har' if as_har else 'json'}").write_text(content, encoding="utf-8")
    with pytest.raises(SourceError, match=r"reviews\.\w+ .*(rgv587_flag|FAIL_SYS_USER_VALIDATE|RGV587_ERROR)"):
        collect(web, tmp_path, monkeypatch)
    assert web.log == []


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("x.json", "<html>", "x.json is not a saved response"),
        ("x.json", '{"comments": [], "data": 5}', "collect.taobao.path: no review picture in saved"),
        ("x.har", "{", "x.har is not a HAR"),
        ("x.txt", "file:///etc/hostname\n", "x.txt, line 1: expected a URL"),
        (".gitkeep", "", "collect.taobao.path: no review picture in saved"),
    ],
)
def test_folder_without_reviews_is_an_error(
    web: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, expected: str
):
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / name).write_text(text, encoding="utf-8")
    with pytest.raises(SourceError, match=re.escape(expected)):
        collect(web, tmp_path, monkeypatch)


@pytest.mark.parametrize("horizontal", [False, True])
@pytest.mark.parametrize("gap", [0, 8])
@pytest.mark.parametrize("fraction", [0.4, 0.5, 0.6])
def test_seam_position_and_direction_are_found(horizontal: bool, gap: int, fraction: float):
    end = round(400 * fraction)
    left = smooth(1, 300, end) // 3
    right = 255 - smooth(2, 300, 400 - end - gap) // 3
    joined = np.concatenate([left, np.full((300, gap, 3), 255, np.uint8), right], axis=1)
    picture = np.ascontiguousarray(joined.transpose(1, 0, 2)) if horizontal else joined
    edge_fraction, is_horizontal, position = find_seam(picture)
    assert edge_fraction > 0.95
    assert is_horizontal is horizontal
    assert end - 3 <= position <= end + gap + 3


def test_undecodable_or_single_pictures_are_not_split():
    assert split_collage(picture(1), 0.95) == []
    assert split_collage(b"no picture", 0.5) == []
    assert split_collage(collage(1)[:400], 0.5) == []
    assert len(split_collage(collage(1), 0.95)) == 2
    assert split_collage(collage(1), 1.0) == [] or find_seam(decode_png(collage(1)))[0] == 1.0


def test_jpeg_of_many_scans_is_not_decoded():
    data = progressive_jpeg(1000, 1000, scans=10_000)
    start = time.thread_time()
    assert split_collage(data, 0.5) == []
    assert time.thread_time() - start < 1


def test_exif_rotation_is_applied_before_splitting():
    with Image.open(io.BytesIO(collage(1))) as opened:
        rotated = opened.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # viewers rotate it by 90 degrees clockwise
    left, right = split_collage(encoded(rotated, "JPEG", exif=exif), 0.9)
    assert decode_png(left).mean() < 100 < decode_png(right).mean()
