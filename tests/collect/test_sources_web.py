"""Sources that ask the web, against hosts on loopback that answer as the real ones do: well, refusing, malformed."""

import html
import json
import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from fakeweb import FakeWeb, Says, fake_web

from portraitist.collect import ssrf
from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.params import SOURCES, LicensedParams
from portraitist.collect.sources import Candidate, SourceError, load_source


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeWeb]:
    monkeypatch.setattr(ssrf, "context", ssl._create_unverified_context)
    with fake_web(tmp_path) as web:
        yield web


def found(name: str, there: FakeWeb, tmp_path: Path, queries: tuple[str, ...] = ("oil portrait",)) -> list[Candidate]:
    (tmp_path / name).mkdir(exist_ok=True)
    told: dict[str, Any] = {"path": tmp_path / name, "limit": 9, "shard_size": 9, "kind": "portraits"}
    told["queries"] = list(queries)
    if SOURCES[name] is LicensedParams:
        told["licences"] = ["cc0", "pdm", "by"]
    with FetchCache(there.web(), tmp_path / "spool") as spool:
        spool.web.pace = lambda *_: None  # type: ignore[method-assign]
        return list(load_source(name).candidates(SOURCES[name](**told), spool))


def refusal(name: str, there: FakeWeb, tmp_path: Path) -> str:
    with pytest.raises(SourceError) as error:
        found(name, there, tmp_path)
    assert "\n" not in str(error.value)
    return str(error.value)


def query(path: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}


# --- Baidu


CIPHER = str.maketrans("abcdefghijklmnopqrstuvw1234567890", "wkv1ju2it3hs4g5rq6fp7eo8dn9cm0bla")


def ciphered(url: str) -> str:
    coded = url.translate(CIPHER)
    for plain, code in ((":", "_z2C$q"), (".", "_z&e3B"), ("/", "AzdH3F")):
        coded = coded.replace(plain, code)
    return coded


def baidu_row(number: int, **changed: Any) -> dict[str, Any]:
    row = {
        "thumbURL": f"https://img0.baidu.com/it/u={number}&fm=26",
        "middleURL": f"https://img1.baidu.com/it/u={number}&fm=253",
        "hoverURL": f"https://img2.baidu.com/it/u={number}&fm=11",
        "objURL": ciphered(f"http://shop.example/pic/{number}.jpg"),
        "replaceUrl": [
            {"ObjURL": f"http://shop.example/pic/{number}.jpg", "FromURL": f"http://shop.example/{number}"}
        ],
        "fromPageTitle": "<strong>手绘</strong>肖像",
        "fromPageTitleEnc": "手绘肖像",
        "width": 800, "height": 1000, "type": "jpg", "is_gif": 0, "pageNum": number,
    }  # fmt: skip
    return {name: value for name, value in (row | changed).items() if value is not None}


def baidu_page(rows: list[dict[str, Any]]) -> str:
    told = {"queryEnc": "x", "queryExt": "手绘 肖像", "listNum": 60, "displayNum": 60, "gsm": "1e", "data": [*rows, {}]}
    return json.dumps(told, ensure_ascii=False)


def baidu(path: str) -> Says:
    start = int(query(path)["pn"])
    return Says(baidu_page([baidu_row(number) for number in range(start, min(start + 30, 60))]))


def test_baidu_gives_every_address_that_its_pages_hold(there: FakeWeb, tmp_path: Path):
    there.pages["image.baidu.com/search/acjson"] = baidu
    candidates = found("baidu", there, tmp_path, ("手绘 肖像&x=1",))
    assert [one.url for one in candidates] == [f"http://shop.example/pic/{number}.jpg" for number in range(60)]
    first = candidates[0]
    assert first.others == (
        "https://img2.baidu.com/it/u=0&fm=11", "https://img1.baidu.com/it/u=0&fm=253",
        "https://img0.baidu.com/it/u=0&fm=26",
    )  # fmt: skip
    assert (first.name, first.page_url, first.query) == ("手绘肖像", "http://shop.example/0", "手绘 肖像&x=1")
    asked = there.asked("image.baidu.com")
    assert [query(path)["pn"] for path in asked] == ["0", "30", "60"]
    assert {query(path)["word"] for path in asked} == {"手绘 肖像&x=1"}
    assert all("x" not in query(path) for path in asked)


@pytest.mark.parametrize(
    ("changed", "url"),
    [
        ({"replaceUrl": None}, "http://shop.example/pic/0.jpg"),
        ({"replaceUrl": None, "objURL": None}, "https://img2.baidu.com/it/u=0&fm=11"),
        ({"replaceUrl": [], "objURL": "", "hoverURL": ""}, "https://img1.baidu.com/it/u=0&fm=253"),
        (
            {"replaceUrl": "no list", "objURL": None, "hoverURL": 5, "middleURL": None},
            "https://img0.baidu.com/it/u=0&fm=26",
        ),
    ],
)
def test_baidus_rows_are_read_in_every_shape(there: FakeWeb, tmp_path: Path, changed: dict[str, Any], url: str):
    there.pages["image.baidu.com/search/acjson"] = lambda path: Says(
        baidu_page([baidu_row(0, **changed)] if query(path)["pn"] == "0" else [])
    )
    assert [one.url for one in found("baidu", there, tmp_path)] == [url]


def test_baidus_bad_escapes_are_mended(there: FakeWeb, tmp_path: Path):
    page = baidu_page([baidu_row(0, fromPageTitleEnc="it's")]).replace("it's", "it\\'s a \\x")
    there.pages["image.baidu.com/search/acjson"] = Says(page)
    (one,) = found("baidu", there, tmp_path)
    assert (one.name, one.url) == ("it's a x", "http://shop.example/pic/0.jpg")


BAIDU_REFUSES = {
    "antiFlag": (Says('{"antiFlag":1,"message":"Forbid spider access"}'), "Forbid spider access"),
    "a page": (Says("<!DOCTYPE html><title>百度安全验证</title>"), "a page in place of results"),
    "no data": (Says('{"errno": 3}'), "an answer without results"),
    "403": (Says("no", 403), "status 403"),
    "429": (Says("no", 429, {"Retry-After": "900"}), "status 429, and asks to be left alone for 900 s"),
    "captcha": (Says("", 302, {"Location": "https://wappass.baidu.com/static/captcha/?ak=1"}), "a captcha"),
}


@pytest.mark.parametrize("how", BAIDU_REFUSES)
def test_every_refusal_of_baidu_is_an_error_that_says_what_was_seen_and_what_to_do(
    there: FakeWeb, tmp_path: Path, how: str
):
    there.pages["image.baidu.com/search/acjson"], seen = BAIDU_REFUSES[how]
    there.pages["wappass.baidu.com"] = Says("<title>百度安全验证</title>")
    told = refusal("baidu", there, tmp_path)
    assert seen in told
    assert "image.baidu.com" in told
    assert f"open the results in your browser and save the pages (or a HAR) into {tmp_path / 'baidu'}" in told


def test_a_refusal_after_good_pages_is_one_too_and_the_good_ones_are_not_asked_for_again(
    there: FakeWeb, tmp_path: Path
):
    refused = [Says('{"antiFlag":1,"message":"Forbid spider access"}')]
    there.pages["image.baidu.com/search/acjson"] = lambda path: (
        refused.pop() if query(path)["pn"] == "30" and refused else baidu(path)
    )
    assert "Forbid spider access" in refusal("baidu", there, tmp_path)
    assert len(found("baidu", there, tmp_path)) == 60
    assert [query(path)["pn"] for path in there.asked("image.baidu.com")] == ["0", "30", "30", "60"]


def test_an_engine_whose_robots_txt_forbids_it_is_not_asked(there: FakeWeb, tmp_path: Path):
    there.pages["image.baidu.com/robots.txt"] = Says("User-agent: *\nDisallow: /\n")
    there.pages["image.baidu.com/search/acjson"] = baidu
    assert "robots_denied, robots.txt of image.baidu.com keeps programs out" in refusal("baidu", there, tmp_path)
    assert there.asked() == []


# --- Bing


def bing_page(numbers: range) -> str:
    tiles = []
    for number in numbers:
        ending = ("jpg", "jpeg?w=3", "webp", "0")[number % 4]
        about = {
            "sid": "", "cid": "c", "purl": f"https://shop.example/{number}", "murl": f"https://shop.example/{number}.{ending}",
            "turl": f"https://tse1.mm.bing.net/th?id={number}", "md5": "d", "t": "\ue000Oil\ue001 portrait", "desc": "",
        }  # fmt: skip
        tiles.append(f'<li><div class="iuscp"><div class="imgpt"><a class="iusc" m="{html.escape(json.dumps(about))}">')
    return f'<ul class="dgControl_list">{"</a></div></div></li>".join(tiles)}</a></div></div></li></ul>'


def test_bing_gives_every_address_whatever_its_ending(there: FakeWeb, tmp_path: Path):
    there.pages["www.bing.com/images/async"] = lambda path: Says(
        bing_page(range(int(query(path)["first"]), min(int(query(path)["first"]) + 35, 60)))
    )
    candidates = found("bing", there, tmp_path)
    assert len(candidates) == 60
    assert candidates[3].url == "https://shop.example/3.0"
    assert candidates[3].others == ("https://tse1.mm.bing.net/th?id=3",)
    assert (candidates[3].name, candidates[3].page_url) == ("Oil portrait", "https://shop.example/3")


def test_a_tile_of_bings_that_is_no_json_costs_itself_only(there: FakeWeb, tmp_path: Path):
    page = bing_page(range(3)).replace(html.escape('{"sid"'), html.escape('{"sid'), 1)
    there.pages["www.bing.com/images/async"] = Says(page)
    assert [one.url for one in found("bing", there, tmp_path)] == [
        "https://shop.example/1.jpeg?w=3", "https://shop.example/2.webp"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("says", "seen"),
    [
        (Says("<title>One last step</title><div>captcha</div>"), "no result is recognised in its page 'One last step'"),
        (Says("", 403), "status 403"),
        (Says("", 503), "status 503"),
    ],
)
def test_every_refusal_of_bing_is_an_error(there: FakeWeb, tmp_path: Path, says: Says, seen: str):
    there.pages["www.bing.com/images/async"] = says
    told = refusal("bing", there, tmp_path)
    assert seen in told
    assert "save the pages" in told


# --- Google


def google_page(count: int) -> str:
    ends = ("jpg", "jpeg", "webp", "php?x\\u003d1\\u0026y")
    results = [f'["https://shop.example/{n}.{ends[n % 4]}",800,600]' for n in range(count)]
    own = '["https://encrypted-tbn0.gstatic.com/images?q\\u003dtbn:x",225,225]'
    return (
        "<script>var logo='https://www.google.com/logo.png'</script>"
        f"<script>AF_initDataCallback({{key: 'ds:1', data:[{','.join([own, *results])}], sideChannel: {{}}}});</script>"
    )


def test_google_gives_every_address_of_a_page_that_the_user_saved(there: FakeWeb, tmp_path: Path):
    (tmp_path / "google").mkdir()
    (tmp_path / "google" / "results.html").write_text(google_page(20), encoding="utf-8")
    candidates = found("google", there, tmp_path)
    assert len(candidates) == 20
    assert candidates[3].url == "https://shop.example/3.php?x=1&y"
    assert there.log == []


def test_google_gives_the_addresses_of_the_results_links_too(there: FakeWeb, tmp_path: Path):
    (tmp_path / "google").mkdir()
    links = "".join(
        f'<a href="https://www.google.com/imgres?q=x&amp;imgurl=https%3A%2F%2Fshop.example%2F{n}.jpg%3Fa&amp;w=9">'
        for n in (1, 2, 1)
    )
    links += '<noscript>/httpservice/retry/enablejs</noscript>/imgres?imgurl=http%3A%2F%2F[ ["https://x\\q",1,1]'
    (tmp_path / "google" / "results.html").write_text(links, encoding="utf-8")
    assert [one.url for one in found("google", there, tmp_path)] == [
        "https://shop.example/1.jpg?a", "https://shop.example/2.jpg?a"
    ]  # fmt: skip


GOOGLE_REFUSES = {
    "javascript": (
        Says('<meta content="0;url=/httpservice/retry/enablejs?sei=x">'),
        "only to a browser with JavaScript",
    ),
    "sorry": (Says("", 302, {"Location": "https://www.google.com/sorry/index?continue=x"}), "a captcha"),
    "429": (Says("sorry", 429), "status 429"),
    "consent": (Says("", 302, {"Location": "https://consent.google.com/ml?continue=x"}), "a consent page"),
    "changed": (Says("<script>var a = 1</script>"), "no result is recognised"),
}


@pytest.mark.parametrize("how", GOOGLE_REFUSES)
def test_every_refusal_of_google_is_an_error(there: FakeWeb, tmp_path: Path, how: str):
    there.pages["www.google.com/search"], seen = GOOGLE_REFUSES[how]
    there.pages["www.google.com/sorry/index"] = Says("unusual traffic")
    there.pages["consent.google.com"] = Says("before you continue")
    told = refusal("google", there, tmp_path)
    assert seen in told
    assert "save the pages (or a HAR)" in told


# --- what is saved is read in place of the web


def har(*entries: tuple[str, str]) -> str:
    listed = [
        {
            "request": {"url": url, "cookies": [{"name": "who", "value": "s3cret"}], "headers": []},
            "response": {"content": {"text": text, "mimeType": "text/html"}},
        }
        for url, text in entries
    ]
    return json.dumps({"log": {"version": "1.2", "entries": listed}})


def test_a_har_is_read_for_the_engines_answers_only(there: FakeWeb, tmp_path: Path):
    (tmp_path / "baidu").mkdir()
    text = har(
        ("https://image.baidu.com/search/acjson?pn=0", baidu_page([baidu_row(0)])),
        ("https://ads.example/acjson", baidu_page([baidu_row(1)])),
        ("http://[", "no address"),
    )
    (tmp_path / "baidu" / "saved.har").write_text(text, encoding="utf-8")
    assert [one.url for one in found("baidu", there, tmp_path)] == ["http://shop.example/pic/0.jpg"]
    assert there.log == []


@pytest.mark.parametrize("text", ["no json", '{"log": {}}', "[]", "[" * 100_000])
def test_a_har_that_is_none_is_an_error_that_names_it(there: FakeWeb, tmp_path: Path, text: str):
    (tmp_path / "baidu").mkdir()
    (tmp_path / "baidu" / "saved.har").write_text(text, encoding="utf-8")
    assert "saved.har is no HAR: " in refusal("baidu", there, tmp_path)


def test_a_saved_page_that_is_a_refusal_is_an_error(there: FakeWeb, tmp_path: Path):
    (tmp_path / "baidu").mkdir()
    (tmp_path / "baidu" / "saved.json").write_text('{"antiFlag":1,"message":"Forbid spider access"}', encoding="utf-8")
    assert "Forbid spider access" in refusal("baidu", there, tmp_path)


# --- interfaces


def commons_page(number: int, licence: str = "pd", short: str = "Public domain", width: int = 4000) -> dict[str, Any]:
    told = {
        "License": licence,
        "LicenseShortName": short,
        "LicenseUrl": "https://l.example",
        "Artist": "<a>Anna</a> B.",
    }
    return {
        "pageid": number, "ns": 6, "title": f"File:{number}.jpg", "index": 10 - number,
        "imageinfo": [
            {
                "url": f"https://upload.wikimedia.org/{number}.jpg",
                "thumburl": f"https://upload.wikimedia.org/thumb/{number}.jpg/960px-{number}.jpg",
                "descriptionurl": f"https://commons.wikimedia.org/wiki/File:{number}.jpg",
                "width": width, "height": 5000, "mime": "image/jpeg",
                "extmetadata": {name: {"value": value, "source": "x"} for name, value in told.items()},
            }
        ],
    }  # fmt: skip


def test_commons_gives_files_with_their_licences_page_after_page(there: FakeWeb, tmp_path: Path):
    first = {
        "continue": {"gsroffset": 50, "continue": "gsroffset||"},
        "query": {
            "pages": [commons_page(1, width=800), commons_page(2, "cc-by-sa-4.0", "CC BY-SA 4.0"), commons_page(3)]
        },
    }
    second = {"query": {"pages": [commons_page(4, "cc-by-4.0", "CC BY 4.0"), {"title": "File:gone.jpg", "index": 9}]}}
    there.pages["commons.wikimedia.org/w/api.php"] = lambda path: Says(
        json.dumps(second if query(path).get("gsroffset") == "50" else first)
    )
    candidates = found("commons", there, tmp_path)
    assert [(one.name, one.licence, one.status and one.status.value) for one in candidates] == [
        ("File:3.jpg", "Public domain", None),
        ("File:2.jpg", "CC BY-SA 4.0", "no_licence"),
        ("File:1.jpg", "Public domain", None),
        ("File:4.jpg", "CC BY 4.0", None),
    ]
    assert candidates[0].url == "https://upload.wikimedia.org/thumb/3.jpg/960px-3.jpg"
    assert candidates[2].url == "https://upload.wikimedia.org/1.jpg"  # is no wider than the copy would be
    assert (candidates[0].author, candidates[0].licence_url) == ("Anna B.", "https://l.example")
    assert query(there.asked()[0])["gsrsearch"] == "filetype:bitmap oil portrait"
    assert "robots.txt" not in {one.path.strip("/") for one in there.log}  # an interface is made for programs


def openverse_page(path: str) -> Says:
    number = int(query(path)["page"])
    rows = [
        {
            "id": "x", "title": "Oil portrait", "creator": "Anna", "url": f"https://live.example/{number}{name}.jpg",
            "license": name, "license_version": "4.0", "license_url": "https://l.example", "mature": False,
            "foreign_landing_url": f"https://site.example/{number}", "attribution": "…",
        }
        for name in ("by", "by-nc")
    ]  # fmt: skip
    return Says(json.dumps({"result_count": 4, "page_count": 2, "page_size": 20, "page": number, "results": rows}))


def test_openverse_gives_pictures_with_their_licences(there: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENVERSE_TOKEN", "t0ken")
    there.pages["api.openverse.org/v1/images/"] = openverse_page
    candidates = found("openverse", there, tmp_path)
    assert [(one.url, one.status and one.status.value) for one in candidates] == [
        ("https://live.example/1by.jpg", None), ("https://live.example/1by-nc.jpg", "no_licence"),
        ("https://live.example/2by.jpg", None), ("https://live.example/2by-nc.jpg", "no_licence"),
    ]  # fmt: skip
    assert (candidates[0].licence, candidates[0].author) == ("by 4.0", "Anna")
    assert {one.headers["Authorization"] for one in there.log} == {"Bearer t0ken"}
    assert query(there.asked()[0])["mature"] == "false"


def met_object(number: int, **changed: Any) -> dict[str, Any]:
    return {
        "objectID": number, "isPublicDomain": True, "primaryImage": f"https://images.example/a b/{number}.jpg",
        "primaryImageSmall": f"https://images.example/small/{number}.jpg", "medium": "Oil on canvas",
        "title": "A Lady", "artistDisplayName": "Anna", "objectURL": f"https://met.example/{number}",
        "tags": [{"term": "Portraits"}, {"term": "Women"}],
    } | changed  # fmt: skip


def test_the_met_gives_painted_portraits_and_says_which_are_not_free(there: FakeWeb, tmp_path: Path):
    api = "collectionapi.metmuseum.org/public/collection/v1"
    there.pages[f"{api}/search"] = Says('{"total": 6, "objectIDs": [1, 2, 3, 4, 5, "x"]}')
    objects = [
        met_object(1), met_object(2, isPublicDomain=False, primaryImage="", primaryImageSmall=""),
        met_object(3, tags=None), met_object(4, medium="Marble"), met_object(5, tags=None, title="Portrait of a Man"),
    ]  # fmt: skip
    for about in objects:
        there.pages[f"{api}/objects/{about['objectID']}"] = Says(json.dumps(about))
    candidates = found("met", there, tmp_path)
    assert [(one.page_url, one.licence, one.status and one.status.value) for one in candidates] == [
        ("https://met.example/1", "CC0-1.0", None),
        ("https://met.example/2", "", "no_licence"),
        ("https://met.example/5", "CC0-1.0", None),
    ]
    assert candidates[0].url == "https://images.example/small/1.jpg"
    assert candidates[0].others == ("https://images.example/a b/1.jpg",)


def flickr_page(path: str) -> Says:
    number = int(query(path)["page"])
    if query(path)["api_key"] != "s3cret":
        return Says('{"stat":"fail","code":100,"message":"Invalid API Key (Key has invalid format)"}')
    rows = [
        {"id": f"{number}{code}", "owner": "9@N0", "title": "me", "license": code, "ownername": "Anna",
         "url_l": f"https://live.example/{number}{code}_b.jpg"} for code in ("4", 9, "1")
    ]  # fmt: skip
    rows.append({"id": "5", "owner": "9@N0", "title": "no size", "license": "4"})
    return Says(json.dumps({"photos": {"page": number, "pages": 2, "photo": rows}, "stat": "ok"}))


def test_flickr_gives_photos_with_their_licences_and_its_key_is_shown_nowhere(
    there: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("FLICKR_API_KEY", "s3cret")
    there.pages["api.flickr.com/services/rest/"] = flickr_page
    candidates = found("flickr", there, tmp_path)
    assert [(one.licence, one.status and one.status.value) for one in candidates] == [
        ("by", None), ("cc0", None), ("", "no_licence")
    ] * 2  # fmt: skip
    assert candidates[0].group == "flickr/9@N0"
    assert candidates[0].page_url == "https://www.flickr.com/photos/9@N0/14"
    assert query(there.asked()[0])["license"] == "9,10,4"
    kept = [path.read_bytes() for path in (tmp_path / "spool").iterdir()]
    assert len(kept) > 1
    assert all(b"s3cret" not in data for data in kept)
    assert "s3cret" not in repr(candidates) + "".join(capfd.readouterr())


def google_api_page(path: str) -> Says:
    start = int(query(path)["start"])
    rows = [
        {"title": "Oil portrait", "link": f"https://shop.example/{number}", "mime": "image/jpeg",
         "image": {"contextLink": "https://shop.example", "thumbnailLink": f"https://t.example/{number}"}}
        for number in range(start, start + 10)
    ]  # fmt: skip
    more = {"nextPage": [{"startIndex": start + 10}]} if start < 21 else {}
    return Says(json.dumps({"kind": "customsearch#search", "queries": more, "items": rows}))


def test_googles_interface_gives_page_after_page(there: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GOOGLE_API_KEY", "s3cret")
    monkeypatch.setenv("GOOGLE_CX", "engine")
    there.pages["www.googleapis.com/customsearch/v1"] = google_api_page
    candidates = found("google_api", there, tmp_path)
    assert [one.url for one in candidates] == [f"https://shop.example/{number}" for number in range(1, 31)]
    assert candidates[0].others == ("https://t.example/1",)
    assert query(there.asked()[0])["key"] == "s3cret"


INTERFACES = {
    "commons": "commons.wikimedia.org/w/api.php",
    "openverse": "api.openverse.org/v1/images/",
    "met": "collectionapi.metmuseum.org/public/collection/v1/search",
    "flickr": "api.flickr.com/services/rest/",
    "google_api": "www.googleapis.com/customsearch/v1",
}


@pytest.mark.parametrize("name", INTERFACES)
@pytest.mark.parametrize(
    ("says", "seen"),
    [
        (Says('{"error": "quota exceeded for s3cret?"}', 403), "status 403"),
        (Says("slow down", 429, {"Retry-After": "120"}), "status 429, and asks to be left alone for 120 s"),
        (Says("<html>maintenance</html>"), "answered with no JSON: 'maintenance'"),
        (Says("", 500), "status 500"),
        (Says("[" * 50_000), "answered with no JSON"),
    ],
)
def test_every_refusal_of_an_interface_is_an_error_that_says_what_to_do(
    there: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, says: Says, seen: str
):
    for variable in ("FLICKR_API_KEY", "GOOGLE_API_KEY", "GOOGLE_CX"):
        monkeypatch.setenv(variable, "s3cret")
    there.pages[INTERFACES[name]] = says
    told = refusal(name, there, tmp_path)
    assert seen in told
    assert INTERFACES[name].partition("/")[0] in told
    assert re.search(r"; (see|wait|set) ", told)


def test_refusals_in_good_form_are_refusals_too(there: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    there.pages[INTERFACES["commons"]] = Says('{"error": {"code": "maxlag", "info": "Waiting for a server"}}')
    assert "commons.wikimedia.org refused: maxlag, Waiting for a server" in refusal("commons", there, tmp_path)
    monkeypatch.setenv("FLICKR_API_KEY", "wrong")
    there.pages[INTERFACES["flickr"]] = flickr_page
    assert "api.flickr.com refused: Invalid API Key" in refusal("flickr", there, tmp_path)


@pytest.mark.parametrize("name", INTERFACES)
@pytest.mark.parametrize(
    "text", ["{}", "[]", "5", '{"query": {"pages": [5, {}]}, "items": 3, "results": [[]], "stat": "ok"}']
)
def test_an_answer_of_another_shape_holds_no_candidate(
    there: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str
):
    for variable in ("FLICKR_API_KEY", "GOOGLE_API_KEY", "GOOGLE_CX"):
        monkeypatch.setenv(variable, "x")
    there.pages[INTERFACES[name]] = Says(text)
    if name == "flickr" and '"ok"' not in text:
        assert "refused: no reason given" in refusal(name, there, tmp_path)
    else:
        assert found(name, there, tmp_path) == []


@pytest.mark.parametrize(("name", "variable"), [("flickr", "FLICKR_API_KEY"), ("google_api", "GOOGLE_API_KEY")])
def test_a_key_that_is_not_set_is_named(
    there: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, variable: str
):
    monkeypatch.delenv(variable, raising=False)
    assert refusal(name, there, tmp_path).startswith(f"{variable} is not set in the environment; ")
    assert there.log == []


@pytest.mark.parametrize("name", INTERFACES)
def test_saved_answers_are_read_in_place_of_the_interface(there: FakeWeb, tmp_path: Path, name: str):
    answers = {
        "commons": json.dumps({"query": {"pages": [commons_page(1)]}}),
        "openverse": openverse_page("/?page=1").body,
        "met": json.dumps(met_object(1)),
        "flickr": flickr_page("/?page=1&api_key=s3cret").body,
        "google_api": google_api_page("/?start=1").body,
    }
    (tmp_path / name).mkdir()
    (tmp_path / name / "saved.json").write_text(str(answers[name]), encoding="utf-8")
    assert found(name, there, tmp_path)[0].url.startswith("https://")
    (tmp_path / name / "saved.json").write_text("<html>", encoding="utf-8")
    assert "is no answer of" in refusal(name, there, tmp_path)
    assert there.log == []
