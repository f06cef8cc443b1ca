"""Web sources, with fake hosts on this machine that respond like the real ones: with results, errors or garbage."""

import html
import json
import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from fakeweb import FakeWeb, Reply, fake_web

from portraitist.collect import ssrf
from portraitist.collect.candidate import Candidate, SourceError
from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.params import SOURCES, LicensedParams
from portraitist.sources import load_source


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeWeb]:
    monkeypatch.setattr(ssrf, "context", ssl._create_unverified_context)
    monkeypatch.setattr(FetchCache, "limit_rate", lambda *_: None)
    with fake_web(tmp_path) as hosts:
        yield hosts


def find_candidates(
    name: str, web: FakeWeb, tmp_path: Path, queries: tuple[str, ...] = ("oil portrait",)
) -> list[Candidate]:
    (tmp_path / name).mkdir(exist_ok=True)
    values: dict[str, Any] = {"path": tmp_path / name, "limit": 9, "shard_size": 9, "kind": "portraits"}
    values["queries"] = list(queries)
    if SOURCES[name] is LicensedParams:
        values["licences"] = ["cc0", "pdm", "by"]
    with FetchCache(web.web(), tmp_path / "cache", name) as cache:
        return list(load_source(name).candidates(SOURCES[name](**values), cache))


def source_error(name: str, web: FakeWeb, tmp_path: Path) -> str:
    with pytest.raises(SourceError) as error:
        find_candidates(name, web, tmp_path)
    assert "\n" not in str(error.value)
    return str(error.value)


def parameters(path: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}


# --- Baidu


CIPHER = str.maketrans("abcdefghijklmnopqrstuvw1234567890", "wkv1ju2it3hs4g5rq6fp7eo8dn9cm0bla")


def ciphered(url: str) -> str:
    coded = url.translate(CIPHER)
    for plain, code in ((":", "_z2C$q"), (".", "_z&e3B"), ("/", "AzdH3F")):
        coded = coded.replace(plain, code)
    return coded


def baidu_row(number: int, **overrides: Any) -> dict[str, Any]:
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
    return {name: value for name, value in (row | overrides).items() if value is not None}


def baidu_page(rows: list[dict[str, Any]]) -> str:
    content = {
        "queryEnc": "x",
        "queryExt": "手绘 肖像",
        "listNum": 60,
        "displayNum": 60,
        "gsm": "1e",
        "data": [*rows, {}],
    }
    return json.dumps(content, ensure_ascii=False)


def baidu(path: str) -> Reply:
    start = int(parameters(path)["pn"])
    return Reply(baidu_page([baidu_row(number) for number in range(start, min(start + 30, 60))]))


def test_baidu_yields_every_url_of_its_pages(web: FakeWeb, tmp_path: Path):
    web.pages["image.baidu.com/search/acjson"] = baidu
    candidates = find_candidates("baidu", web, tmp_path, ("手绘 肖像&x=1",))
    assert [candidate.url for candidate in candidates] == [
        f"http://shop.example/pic/{number}.jpg" for number in range(60)
    ]
    first = candidates[0]
    assert first.others == (
        "https://img2.baidu.com/it/u=0&fm=11", "https://img1.baidu.com/it/u=0&fm=253",
        "https://img0.baidu.com/it/u=0&fm=26",
    )  # fmt: skip
    assert (first.name, first.page_url, first.query) == ("手绘肖像", "http://shop.example/0", "手绘 肖像&x=1")
    paths = web.requested_paths("image.baidu.com")
    assert [parameters(path)["pn"] for path in paths] == ["0", "30", "60"]
    assert {parameters(path)["word"] for path in paths} == {"手绘 肖像&x=1"}
    assert all("x" not in parameters(path) for path in paths)


@pytest.mark.parametrize(
    ("overrides", "url"),
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
def test_baidu_rows_with_missing_urls_use_the_next_copy(
    web: FakeWeb, tmp_path: Path, overrides: dict[str, Any], url: str
):
    web.pages["image.baidu.com/search/acjson"] = lambda path: Reply(
        baidu_page([baidu_row(0, **overrides)] if parameters(path)["pn"] == "0" else [])
    )
    assert [candidate.url for candidate in find_candidates("baidu", web, tmp_path)] == [url]


def test_baidu_invalid_escapes_are_repaired(web: FakeWeb, tmp_path: Path):
    page = baidu_page([baidu_row(0, fromPageTitleEnc="it's")]).replace("it's", "it\\'s a \\x")
    web.pages["image.baidu.com/search/acjson"] = Reply(page)
    (candidate,) = find_candidates("baidu", web, tmp_path)
    assert (candidate.name, candidate.url) == ("it's a x", "http://shop.example/pic/0.jpg")


BAIDU_REFUSALS = {
    "antiFlag": (Reply('{"antiFlag":1,"message":"Forbid spider access"}'), "Forbid spider access"),
    "a page": (Reply("<!DOCTYPE html><title>百度安全验证</title>"), "an HTML page instead of results"),
    "no data": (Reply('{"errno": 3}'), "a response that has no list of results"),
    "403": (Reply("no", 403), "status 403"),
    "429": (Reply("no", 429, {"Retry-After": "900"}), "status 429, Retry-After 900 s"),
    "captcha": (Reply("", 302, {"Location": "https://wappass.baidu.com/static/captcha/?ak=1"}), "a captcha"),
}


@pytest.mark.parametrize("case", BAIDU_REFUSALS)
def test_baidu_refusal_error_has_reason_and_advice(web: FakeWeb, tmp_path: Path, case: str):
    web.pages["image.baidu.com/search/acjson"], expected = BAIDU_REFUSALS[case]
    web.pages["wappass.baidu.com"] = Reply("<title>百度安全验证</title>")
    message = source_error("baidu", web, tmp_path)
    assert expected in message
    assert "image.baidu.com" in message
    assert str(tmp_path / "baidu") in message


def test_pages_before_a_refusal_are_not_requested_again(web: FakeWeb, tmp_path: Path):
    refused = [Reply('{"antiFlag":1,"message":"Forbid spider access"}')]
    web.pages["image.baidu.com/search/acjson"] = lambda path: (
        refused.pop() if parameters(path)["pn"] == "30" and refused else baidu(path)
    )
    assert "Forbid spider access" in source_error("baidu", web, tmp_path)
    assert len(find_candidates("baidu", web, tmp_path)) == 60
    assert [parameters(path)["pn"] for path in web.requested_paths("image.baidu.com")] == ["0", "30", "30", "60"]


def test_robots_txt_disallows_a_search_engine(web: FakeWeb, tmp_path: Path):
    web.pages["image.baidu.com/robots.txt"] = Reply("User-agent: *\nDisallow: /\n")
    web.pages["image.baidu.com/search/acjson"] = baidu
    assert "image.baidu.com failed: robots_denied, " in source_error("baidu", web, tmp_path)
    assert web.requested_paths() == []


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


def test_bing_yields_every_url_whatever_its_suffix(web: FakeWeb, tmp_path: Path):
    web.pages["www.bing.com/images/async"] = lambda path: Reply(
        bing_page(range(int(parameters(path)["first"]), min(int(parameters(path)["first"]) + 35, 60)))
    )
    candidates = find_candidates("bing", web, tmp_path)
    assert len(candidates) == 60
    assert candidates[3].url == "https://shop.example/3.0"
    assert candidates[3].others == ("https://tse1.mm.bing.net/th?id=3",)
    assert (candidates[3].name, candidates[3].page_url) == ("Oil portrait", "https://shop.example/3")


def test_bing_tile_with_invalid_json_is_skipped(web: FakeWeb, tmp_path: Path):
    page = bing_page(range(3)).replace(html.escape('{"sid"'), html.escape('{"sid'), 1)
    web.pages["www.bing.com/images/async"] = Reply(page)
    assert [candidate.url for candidate in find_candidates("bing", web, tmp_path)] == [
        "https://shop.example/1.jpeg?w=3", "https://shop.example/2.webp"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (Reply("<title>One last step</title><div>captcha</div>"), "'One last step'"),
        (Reply("", 403), "status 403"),
        (Reply("", 503), "status 503"),
    ],
)
def test_bing_refusal_is_an_error(web: FakeWeb, tmp_path: Path, response: Reply, expected: str):
    web.pages["www.bing.com/images/async"] = response
    message = source_error("bing", web, tmp_path)
    assert expected in message
    assert str(tmp_path / "bing") in message


# --- Google


def google_page(count: int) -> str:
    ends = ("jpg", "jpeg", "webp", "php?x\\u003d1\\u0026y")
    results = [f'["https://shop.example/{n}.{ends[n % 4]}",800,600]' for n in range(count)]
    own = '["https://encrypted-tbn0.gstatic.com/images?q\\u003dtbn:x",225,225]'
    return (
        "<script>var logo='https://www.google.com/logo.png'</script>"
        f"<script>AF_initDataCallback({{key: 'ds:1', data:[{','.join([own, *results])}], sideChannel: {{}}}});</script>"
    )


def test_google_yields_every_url_of_a_saved_page(web: FakeWeb, tmp_path: Path):
    (tmp_path / "google").mkdir()
    (tmp_path / "google" / "results.html").write_text(google_page(20), encoding="utf-8")
    candidates = find_candidates("google", web, tmp_path)
    assert len(candidates) == 20
    assert candidates[3].url == "https://shop.example/3.php?x=1&y"
    assert web.log == []


def test_google_yields_urls_of_result_links(web: FakeWeb, tmp_path: Path):
    (tmp_path / "google").mkdir()
    links = "".join(
        f'<a href="https://www.google.com/imgres?q=x&amp;imgurl=https%3A%2F%2Fshop.example%2F{n}.jpg%3Fa&amp;w=9">'
        for n in (1, 2, 1)
    )
    links += '<noscript>/httpservice/retry/enablejs</noscript>/imgres?imgurl=http%3A%2F%2F[ ["https://x\\q",1,1]'
    (tmp_path / "google" / "results.html").write_text(links, encoding="utf-8")
    assert [candidate.url for candidate in find_candidates("google", web, tmp_path)] == [
        "https://shop.example/1.jpg?a", "https://shop.example/2.jpg?a"
    ]  # fmt: skip


GOOGLE_REFUSALS = {
    "javascript": (
        Reply('<meta content="0;url=/httpservice/retry/enablejs?sei=x">'),
        "JavaScript",
    ),
    "sorry": (Reply("", 302, {"Location": "https://www.google.com/sorry/index?continue=x"}), "a captcha"),
    "429": (Reply("sorry", 429), "status 429"),
    "consent": (Reply("", 302, {"Location": "https://consent.google.com/ml?continue=x"}), "a consent page"),
    "changed": (Reply("<script>var a = 1</script>"), "contains no pictures"),
}


@pytest.mark.parametrize("case", GOOGLE_REFUSALS)
def test_google_refusal_is_an_error(web: FakeWeb, tmp_path: Path, case: str):
    web.pages["www.google.com/search"], expected = GOOGLE_REFUSALS[case]
    web.pages["www.google.com/sorry/index"] = Reply("unusual traffic")
    web.pages["consent.google.com"] = Reply("before you continue")
    message = source_error("google", web, tmp_path)
    assert expected in message
    assert str(tmp_path / "google") in message


# --- saved responses are read instead of the web


def har(*entries: tuple[str, str]) -> str:
    listed = [
        {
            "request": {"url": url, "cookies": [{"name": "who", "value": "s3cret"}], "headers": []},
            "response": {"content": {"text": text, "mimeType": "text/html"}},
        }
        for url, text in entries
    ]
    return json.dumps({"log": {"version": "1.2", "entries": listed}})


def test_only_responses_of_the_host_are_read_from_a_har(web: FakeWeb, tmp_path: Path):
    (tmp_path / "baidu").mkdir()
    text = har(
        ("https://image.baidu.com/search/acjson?pn=0", baidu_page([baidu_row(0)])),
        ("https://ads.example/acjson", baidu_page([baidu_row(1)])),
        ("http://[", "invalid URL"),
    )
    (tmp_path / "baidu" / "saved.har").write_text(text, encoding="utf-8")
    assert [candidate.url for candidate in find_candidates("baidu", web, tmp_path)] == ["http://shop.example/pic/0.jpg"]
    assert web.log == []


def test_responses_of_other_hosts_alone_are_an_error(web: FakeWeb, tmp_path: Path):
    (tmp_path / "baidu").mkdir()
    text = har(("https://image.other.example/search", baidu_page([baidu_row(0)])))
    (tmp_path / "baidu" / "saved.har").write_text(text, encoding="utf-8")
    message = source_error("baidu", web, tmp_path)
    assert "the saved responses are of image.other.example; expected responses of image.baidu.com" in message
    assert web.log == []


def test_parts_of_a_saved_page_are_ignored(web: FakeWeb, tmp_path: Path):
    (tmp_path / "google" / "results_files").mkdir(parents=True)
    (tmp_path / "google" / "results.html").write_text(google_page(20), encoding="utf-8")
    for name in ("saved_resource.html", "rs.js"):
        (tmp_path / "google" / "results_files" / name).write_text("<html>other</html>", encoding="utf-8")
    assert len(find_candidates("google", web, tmp_path)) == 20


def test_other_folders_called_files_are_read(web: FakeWeb, tmp_path: Path):
    (tmp_path / "google" / "html_files").mkdir(parents=True)
    (tmp_path / "google" / "html_files" / "results.html").write_text(google_page(20), encoding="utf-8")
    assert len(find_candidates("google", web, tmp_path)) == 20
    assert web.log == []


@pytest.mark.parametrize("text", ["no json", '{"log": {}}', "[]", "[" * 100_000])
def test_invalid_har_error_names_the_file(web: FakeWeb, tmp_path: Path, text: str):
    (tmp_path / "baidu").mkdir()
    (tmp_path / "baidu" / "saved.har").write_text(text, encoding="utf-8")
    assert "saved.har is not a HAR" in source_error("baidu", web, tmp_path)


def test_saved_refusal_is_an_error(web: FakeWeb, tmp_path: Path):
    (tmp_path / "baidu").mkdir()
    (tmp_path / "baidu" / "saved.json").write_text('{"antiFlag":1,"message":"Forbid spider access"}', encoding="utf-8")
    message = source_error("baidu", web, tmp_path)
    assert "Forbid spider access" in message
    assert str(tmp_path / "baidu" / "saved.json") in message


# --- APIs


def commons_page(number: int, licence: str = "pd", short: str = "Public domain", width: int = 4000) -> dict[str, Any]:
    metadata = {
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
                "extmetadata": {name: {"value": value, "source": "x"} for name, value in metadata.items()},
            }
        ],
    }  # fmt: skip


def test_commons_yields_files_of_all_pages_with_licences(web: FakeWeb, tmp_path: Path):
    first = {
        "continue": {"gsroffset": 50, "continue": "gsroffset||"},
        "query": {
            "pages": [commons_page(1, width=800), commons_page(2, "cc-by-sa-4.0", "CC BY-SA 4.0"), commons_page(3)]
        },
    }
    second = {"query": {"pages": [commons_page(4, "cc-by-4.0", "CC BY 4.0"), {"title": "File:gone.jpg", "index": 9}]}}
    web.pages["commons.wikimedia.org/w/api.php"] = lambda path: Reply(
        json.dumps(second if parameters(path).get("gsroffset") == "50" else first)
    )
    candidates = find_candidates("commons", web, tmp_path)
    assert [
        (candidate.name, candidate.licence, candidate.status and candidate.status.value) for candidate in candidates
    ] == [
        ("File:3.jpg", "Public domain", None),
        ("File:2.jpg", "CC BY-SA 4.0", "no_licence"),
        ("File:1.jpg", "Public domain", None),
        ("File:4.jpg", "CC BY 4.0", None),
    ]
    assert candidates[0].url == "https://upload.wikimedia.org/thumb/3.jpg/960px-3.jpg"
    assert candidates[2].url == "https://upload.wikimedia.org/1.jpg"  # narrower than the scaled copy
    assert (candidates[0].author, candidates[0].licence_url) == ("Anna B.", "https://l.example")
    assert parameters(web.requested_paths()[0])["gsrsearch"] == "filetype:bitmap oil portrait"
    assert "robots.txt" not in {request.path.strip("/") for request in web.log}  # robots.txt does not apply to an API


def openverse_page(path: str) -> Reply:
    number = int(parameters(path)["page"])
    rows = [
        {
            "id": "x", "title": "Oil portrait", "creator": "Anna", "url": f"https://live.example/{number}{name}.jpg",
            "license": name, "license_version": "4.0", "license_url": "https://l.example", "mature": False,
            "foreign_landing_url": f"https://site.example/{number}", "attribution": "…",
        }
        for name in ("by", "by-nc")
    ]  # fmt: skip
    return Reply(json.dumps({"result_count": 4, "page_count": 2, "page_size": 20, "page": number, "results": rows}))


def test_openverse_yields_pictures_with_licences(web: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENVERSE_TOKEN", "t0ken")
    web.pages["api.openverse.org/v1/images/"] = openverse_page
    candidates = find_candidates("openverse", web, tmp_path)
    assert [(candidate.url, candidate.status and candidate.status.value) for candidate in candidates] == [
        ("https://live.example/1by.jpg", None), ("https://live.example/1by-nc.jpg", "no_licence"),
        ("https://live.example/2by.jpg", None), ("https://live.example/2by-nc.jpg", "no_licence"),
    ]  # fmt: skip
    assert (candidates[0].licence, candidates[0].author) == ("by 4.0", "Anna")
    assert {request.headers["Authorization"] for request in web.log} == {"Bearer t0ken"}
    assert parameters(web.requested_paths()[0])["mature"] == "false"


def met_object(number: int, **overrides: Any) -> dict[str, Any]:
    return {
        "objectID": number, "isPublicDomain": True, "primaryImage": f"https://images.example/a b/{number}.jpg",
        "primaryImageSmall": f"https://images.example/small/{number}.jpg", "medium": "Oil on canvas",
        "title": "A Lady", "artistDisplayName": "Anna", "objectURL": f"https://met.example/{number}",
        "tags": [{"term": "Portraits"}, {"term": "Women"}],
    } | overrides  # fmt: skip


def test_met_yields_painted_portraits_and_marks_non_cc0(web: FakeWeb, tmp_path: Path):
    api = "collectionapi.metmuseum.org/public/collection/v1"
    web.pages[f"{api}/search"] = Reply('{"total": 6, "objectIDs": [1, 2, 3, 4, 5, "x"]}')
    objects = [
        met_object(1), met_object(2, isPublicDomain=False, primaryImage="", primaryImageSmall=""),
        met_object(3, tags=None), met_object(4, medium="Marble"), met_object(5, tags=None, title="Portrait of a Man"),
    ]  # fmt: skip
    for about in objects:
        web.pages[f"{api}/objects/{about['objectID']}"] = Reply(json.dumps(about))
    candidates = find_candidates("met", web, tmp_path)
    assert [
        (candidate.page_url, candidate.licence, candidate.status and candidate.status.value) for candidate in candidates
    ] == [
        ("https://met.example/1", "CC0-1.0", None),
        ("https://met.example/2", "", "no_licence"),
        ("https://met.example/5", "CC0-1.0", None),
    ]
    assert candidates[0].url == "https://images.example/small/1.jpg"
    assert candidates[0].others == ("https://images.example/a b/1.jpg",)


def flickr_page(path: str) -> Reply:
    number = int(parameters(path)["page"])
    if parameters(path)["api_key"] != "s3cret":
        return Reply('{"stat":"fail","code":100,"message":"Invalid API Key (Key has invalid format)"}')
    rows = [
        {"id": f"{number}{code}", "owner": "9@N0", "title": "me", "license": code, "ownername": "Anna",
         "url_l": f"https://live.example/{number}{code}_b.jpg"} for code in ("4", 9, "1")
    ]  # fmt: skip
    rows.append({"id": "5", "owner": "9@N0", "title": "no size", "license": "4"})
    return Reply(json.dumps({"photos": {"page": number, "pages": 2, "photo": rows}, "stat": "ok"}))


def test_flickr_yields_licences_and_hides_the_key(
    web: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("FLICKR_API_KEY", "s3cret")
    web.pages["api.flickr.com/services/rest/"] = flickr_page
    candidates = find_candidates("flickr", web, tmp_path)
    assert [(candidate.licence, candidate.status and candidate.status.value) for candidate in candidates] == [
        ("by", None), ("cc0", None), ("", "no_licence")
    ] * 2  # fmt: skip
    assert candidates[0].group == "flickr/9@N0"
    assert candidates[0].page_url == "https://www.flickr.com/photos/9@N0/14"
    assert parameters(web.requested_paths()[0])["license"] == "9,10,4"
    stored = [path.read_bytes() for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert len(stored) > 1
    assert all(b"s3cret" not in data for data in stored)
    assert "s3cret" not in repr(candidates) + "".join(capfd.readouterr())


def google_api_page(path: str) -> Reply:
    start = int(parameters(path)["start"])
    rows = [
        {"title": "Oil portrait", "link": f"https://shop.example/{number}", "mime": "image/jpeg",
         "image": {"contextLink": "https://shop.example", "thumbnailLink": f"https://t.example/{number}"}}
        for number in range(start, start + 10)
    ]  # fmt: skip
    more = {"nextPage": [{"startIndex": start + 10}]} if start < 21 else {}
    return Reply(json.dumps({"kind": "customsearch#search", "queries": more, "items": rows}))


def test_google_api_yields_all_pages(web: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GOOGLE_API_KEY", "s3cret")
    monkeypatch.setenv("GOOGLE_CX", "engine")
    web.pages["www.googleapis.com/customsearch/v1"] = google_api_page
    candidates = find_candidates("google_api", web, tmp_path)
    assert [candidate.url for candidate in candidates] == [f"https://shop.example/{number}" for number in range(1, 31)]
    assert candidates[0].others == ("https://t.example/1",)
    assert parameters(web.requested_paths()[0])["key"] == "s3cret"


APIS = {
    "commons": "commons.wikimedia.org/w/api.php",
    "openverse": "api.openverse.org/v1/images/",
    "met": "collectionapi.metmuseum.org/public/collection/v1/search",
    "flickr": "api.flickr.com/services/rest/",
    "google_api": "www.googleapis.com/customsearch/v1",
}


@pytest.mark.parametrize("name", APIS)
@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (Reply('{"error": "quota exceeded for s3cret?"}', 403), "status 403"),
        (Reply("slow down", 429, {"Retry-After": "120"}), "status 429, Retry-After 120 s"),
        (Reply("<html>maintenance</html>"), "not JSON: 'maintenance'"),
        (Reply("", 500), "status 500"),
        (Reply("[" * 50_000), "not JSON"),
    ],
)
def test_api_refusal_error_has_reason_and_advice(
    web: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, response: Reply, expected: str
):
    for variable in ("FLICKR_API_KEY", "GOOGLE_API_KEY", "GOOGLE_CX"):
        monkeypatch.setenv(variable, "s3cret")
    web.pages[APIS[name]] = response
    message = source_error(name, web, tmp_path)
    assert expected in message
    assert APIS[name].partition("/")[0] in message
    assert re.search(r"; (see|wait|set) ", message)


def test_api_error_in_valid_json_is_an_error(web: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    web.pages[APIS["commons"]] = Reply('{"error": {"code": "maxlag", "info": "Waiting for a server"}}')
    assert "commons.wikimedia.org refused the request: maxlag, Waiting for a server" in source_error(
        "commons", web, tmp_path
    )
    monkeypatch.setenv("FLICKR_API_KEY", "wrong")
    web.pages[APIS["flickr"]] = flickr_page
    assert "api.flickr.com refused the request: Invalid API Key" in source_error("flickr", web, tmp_path)


@pytest.mark.parametrize("name", APIS)
@pytest.mark.parametrize(
    "text", ["{}", "[]", "5", '{"query": {"pages": [5, {}]}, "items": 3, "results": [[]], "stat": "ok"}']
)
def test_unexpected_json_yields_no_candidate(
    web: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str
):
    for variable in ("FLICKR_API_KEY", "GOOGLE_API_KEY", "GOOGLE_CX"):
        monkeypatch.setenv(variable, "x")
    web.pages[APIS[name]] = Reply(text)
    if name == "flickr" and '"ok"' not in text:
        assert "refused the request: no reason given" in source_error(name, web, tmp_path)
    else:
        assert find_candidates(name, web, tmp_path) == []


@pytest.mark.parametrize(("name", "variable"), [("flickr", "FLICKR_API_KEY"), ("google_api", "GOOGLE_API_KEY")])
def test_missing_api_key_error_names_the_variable(
    web: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, variable: str
):
    monkeypatch.delenv(variable, raising=False)
    assert source_error(name, web, tmp_path).startswith(f"environment variable {variable} is not set; ")
    assert web.log == []


@pytest.mark.parametrize("name", APIS)
def test_saved_responses_replace_the_api(web: FakeWeb, tmp_path: Path, name: str):
    answers = {
        "commons": json.dumps({"query": {"pages": [commons_page(1)]}}),
        "openverse": openverse_page("/?page=1").body,
        "met": json.dumps(met_object(1)),
        "flickr": flickr_page("/?page=1&api_key=s3cret").body,
        "google_api": google_api_page("/?start=1").body,
    }
    (tmp_path / name).mkdir()
    (tmp_path / name / "saved.json").write_text(str(answers[name]), encoding="utf-8")
    assert find_candidates(name, web, tmp_path)[0].url.startswith("https://")
    (tmp_path / name / "saved.json").write_text("<html>", encoding="utf-8")
    message = source_error(name, web, tmp_path)
    assert APIS[name].partition("/")[0] in message
    assert str(tmp_path / name / "saved.json") in message
    assert web.log == []
