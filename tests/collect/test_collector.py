"""The manifest has one row per candidate, in order, also after failures; an interrupted run can be resumed."""

import csv
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
from drawn import encoded, smooth
from fakeweb import FETCH, FakeWeb, Reply, fake_web

from pipeline import collect as stage
from pipeline.stage import print_error
from portraitist.collect.candidate import Candidate, SourceError
from portraitist.collect.collector import Collected, collect_source
from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.http import HttpClient
from portraitist.collect.output import MANIFEST_COLUMNS
from portraitist.collect.params import CollectParams, FetchParams, SearchParams
from portraitist.collect.ssrf import MissingContactError
from portraitist.core import manifest
from portraitist.core.shards import Shards
from portraitist.reporting.stage_report import write_collect_metrics

ROOT = Path(__file__).resolve().parents[2]
PICTURES = [encoded(smooth(number), "PNG") for number in range(12)]


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeWeb]:
    with fake_web(tmp_path) as web:
        yield web


def source_of(*items: Candidate, **attributes: Any) -> Any:
    """Return a source that yields these candidates and appends each to `taken`."""

    def candidates(params: CollectParams, cache: FetchCache) -> Iterator[Candidate]:
        for item in items:
            source.taken += 1
            yield item

    source: Any = ModuleType("source")
    vars(source).update(attributes | {"candidates": candidates, "taken": 0})
    return source


def collect(source: Any, web: HttpClient, folder: Path, limit: int = 99, **search: Any) -> list[Collected]:
    params = CollectParams(path=Path("none"), limit=limit, shard_size=5)
    if search:
        params = SearchParams(**params.model_dump(), **search)
    with FetchCache(web, folder / "cache", "test") as cache:
        return list(collect_source("test", source, params, cache, web.blocklist))


def local(number: int, kind: Any = "selfies", **fields: Any) -> Candidate:
    return Candidate(kind, f"{number}", lambda: PICTURES[number], **fields)


def remote(number: int, fake: FakeWeb, response: Reply | None = None, **fields: Any) -> Candidate:
    fake.pages[f"a.example/{number}"] = response or Reply(PICTURES[number])
    return Candidate("portraits", f"{number}", url=f"http://a.example/{number}", **fields)


def statuses(rows: list[Collected]) -> list[tuple[str, str]]:
    return [(item.row["name"], item.row["status"]) for item in rows]


def test_each_candidate_has_one_row_in_order(fake: FakeWeb, tmp_path: Path):
    slow = Reply(PICTURES[0], drip_s=0.0001)
    rows = collect(
        source_of(
            remote(0, fake, slow),
            remote(1, fake),
            remote(2, fake, Reply("gone", 410)),
            local(3),
            Candidate("portraits", "file", url="file:///etc/hostname"),
            Candidate("portraits", "nothing"),
            local(3, group="again"),
            remote(1, fake, author="a second source"),
        ),
        fake.web(deadline_s=60),
        tmp_path,
    )
    assert statuses(rows) == [
        ("0", "kept"), ("1", "kept"), ("2", "http_error"), ("3", "kept"), ("file", "refused_scheme"),
        ("nothing", "refused_scheme"), ("3", "duplicate"), ("1", "duplicate"),
    ]  # fmt: skip
    kept = [item for item in rows if item.members]
    assert [item.members["bytes"] for item in kept if item.members] == [PICTURES[0], PICTURES[1], PICTURES[3]]
    assert [item.row["id"] for item in kept] == [manifest.picture_id(PICTURES[number]) for number in (0, 1, 3)]
    assert rows[1].row["final_url"] == "http://a.example/1"
    assert rows[2].row["reason"] == "status 410"
    assert [bool(item.fetched_at) for item in rows] == [True, True, False, False, False, False, False, False]
    assert fake.requested_paths().count("/1") == 1


def test_no_more_is_requested_than_the_limit_needs(fake: FakeWeb, tmp_path: Path):
    bad = Reply("gone", 410)
    source = source_of(*(remote(number, fake, bad if number in (1, 2, 4) else None) for number in range(12)))
    rows = collect(source, fake.web(connections=3), tmp_path, 4, kind="portraits", queries=["x"])
    assert statuses(rows)[-1] == ("6", "kept")
    assert Counter(status for _, status in statuses(rows)) == {"kept": 4, "http_error": 3}
    assert sorted(fake.requested_paths()) == [f"/{number}" for number in range(7)]
    assert source.taken == 7


def test_limit_applies_to_each_kind(fake: FakeWeb, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source = source_of(*(local(number) for number in range(5)), *(local(number, "portraits") for number in range(5, 9)))
    rows = collect(source, fake.web(), tmp_path, limit=2)
    assert statuses(rows) == [("0", "kept"), ("1", "kept"), ("5", "kept"), ("6", "kept")]
    assert "(2) reached for selfies and portraits; any further pictures were not collected" in capsys.readouterr().err
    collect(source, fake.web(), tmp_path, limit=9)
    assert capsys.readouterr().err == ""


def test_other_urls_are_tried_after_a_failure(fake: FakeWeb, tmp_path: Path):
    fake.pages["b.example/small"] = Reply(PICTURES[9])
    others = ("http://b.example/none", "http://b.example/small")
    (row,) = collect(source_of(remote(0, fake, Reply("gone", 404), others=others)), fake.web(), tmp_path)
    assert (row.row["status"], row.row["url"]) == ("kept", "http://a.example/0")
    assert row.row["final_url"] == "http://b.example/small"


@pytest.mark.parametrize("header", ["noai", "noimageai"])
def test_no_other_url_is_tried_after_an_opt_out(fake: FakeWeb, tmp_path: Path, header: str):
    fake.pages["b.example/copy"] = Reply(PICTURES[1])
    opted_out = remote(0, fake, Reply(PICTURES[0], headers={"X-Robots-Tag": header}), others=("http://b.example/copy",))
    rows = collect(source_of(opted_out, local(3)), fake.web(), tmp_path)
    assert statuses(rows) == [("0", "opted_out"), ("3", "kept")]
    assert fake.requested_paths("b.example") == []


def test_blocklist_is_checked_before_and_after_the_download(fake: FakeWeb, tmp_path: Path):
    digest = hashlib.sha256(PICTURES[2]).hexdigest()
    blocked = ("url:http://a.example/0", "host:shop.example", f"sha256:{digest[:16]}", "subject:selfies/anna")
    of_local = f"sha256:{hashlib.sha256(PICTURES[5]).hexdigest()}"
    rows = collect(
        source_of(
            remote(0, fake),
            remote(1, fake, page_url="http://www.shop.example/item"),
            remote(2, fake),
            local(3, group="selfies/anna"),
            local(5),
            local(4),
        ),
        fake.web(blocked=(*blocked, of_local)),
        tmp_path,
    )
    assert [(item.row["status"], item.row.get("reason", "")) for item in rows] == [
        ("blocklisted", "url:http://a.example/0"),
        ("blocklisted", "host:shop.example"),
        ("blocklisted", f"sha256:{digest[:16]}"),
        ("blocklisted", "subject:selfies/anna"),
        ("blocklisted", of_local),
        ("kept", ""),
    ]
    assert fake.requested_paths() == ["/2"]


def test_split_picture_has_a_row_and_one_per_part(fake: FakeWeb, tmp_path: Path):
    def parts(candidate: Candidate, data: bytes, params: CollectParams) -> list[Candidate]:
        halves = (local(7, "selfies", pair="p"), local(8, "portraits", pair="p"))
        return list(halves) if data == PICTURES[0] else []

    rows = collect(source_of(remote(0, fake), remote(1, fake), parts=parts), fake.web(), tmp_path)
    pair = manifest.picture_id(PICTURES[0])
    assert [(item.row["status"], item.row["kind"], item.row["pair"]) for item in rows] == [
        ("split", "portraits", pair), ("kept", "selfies", "p"), ("kept", "portraits", "p"), ("kept", "portraits", "")
    ]  # fmt: skip
    assert [item.members is None for item in rows] == [True, False, False, False]


def test_source_without_pictures_is_an_error_with_counts(fake: FakeWeb, tmp_path: Path):
    source = source_of(
        remote(0, fake, Reply("no", 403)), remote(1, fake, Reply("no", 403)), remote(2, fake, Reply("?"))
    )
    for expected in ("2 http_error, 1 not_a_picture$", "1 not_a_picture; .* portraitist dataset clear-cache test$"):
        with pytest.raises(SourceError, match=expected):  # the second run requests nothing
            collect(source, fake.web(), tmp_path)
    with pytest.raises(SourceError, match="no candidates"):
        collect(source_of(), fake.web(), tmp_path)


def test_downloads_before_a_refusal_are_not_repeated(fake: FakeWeb, tmp_path: Path):
    def refusing(params: CollectParams, cache: FetchCache) -> Iterator[Candidate]:
        yield from (remote(number, fake) for number in range(3))
        if len(fake.log) < 5:
            time.sleep(0.3)
            raise SourceError("a captcha")
        yield local(5)

    source = ModuleType("refusing")
    source.candidates = refusing
    with pytest.raises(SourceError, match="a captcha"):
        collect(source, fake.web(), tmp_path)
    fake.log.append(fake.log[0])
    rows = collect(source, fake.web(), tmp_path)
    assert [status for _, status in statuses(rows)] == ["kept"] * 4
    assert Counter(fake.requested_paths()) == {"/0": 1, "/1": 1, "/2": 1}


def test_pending_downloads_are_cancelled_after_a_refusal(fake: FakeWeb, tmp_path: Path):
    fake.pages["a.example"] = lambda _: time.sleep(0.3) or Reply(PICTURES[0])

    def refusing(params: CollectParams, cache: FetchCache) -> Iterator[Candidate]:
        yield from (Candidate("portraits", url=f"http://a.example/slow/{number}") for number in range(4))
        raise SourceError("a captcha")

    source = ModuleType("refusing")
    source.candidates = refusing
    with pytest.raises(SourceError, match="a captcha"):
        collect(source, fake.web(connections=1), tmp_path)
    assert len(fake.requested_paths()) <= 2


def test_only_temporary_failures_are_retried_by_the_next_run(fake: FakeWeb, tmp_path: Path):
    truncated = Reply(PICTURES[0][:-30])
    failures = [truncated, *(Reply("", status) for status in (500, 502, 504, 404, 410))]
    for _ in range(2):
        candidates = [remote(number, fake, failure) for number, failure in enumerate(failures)]
        rows = collect(source_of(*candidates, local(6)), fake.web(), tmp_path)
    assert [status for _, status in statuses(rows)] == ["cut_off", *["http_error"] * 5, "kept"]
    assert Counter(fake.requested_paths()) == {"/0": 2, "/1": 2, "/2": 2, "/3": 2, "/4": 1, "/5": 1}


def test_pages_are_cached_unless_refused_or_discarded(fake: FakeWeb, tmp_path: Path):
    fake.pages["a.example/p"] = Reply("results")
    fake.pages["a.example/q"] = Reply("wait", 403)
    for _ in range(2):
        with FetchCache(fake.web(), tmp_path / "cache", "test") as cache:
            assert cache.get_text("http://a.example/p", crawled=False).text == "results"
            assert cache.get_text("http://a.example/q", crawled=False).status == 403
    assert Counter(fake.requested_paths()) == {"/p": 1, "/q": 2}
    with FetchCache(fake.web(), tmp_path / "cache", "test") as cache:
        cache.discard("http://a.example/p")
        cache.get_text("http://a.example/p", crawled=False)
    assert fake.requested_paths().count("/p") == 2


def test_echoed_secret_is_not_stored_in_the_cache(fake: FakeWeb, tmp_path: Path):
    fake.pages["a.example/api"] = Reply(
        '{"error": null, "key": "s3c\\/ret", "next": "http://a.example/api?key=s3c%2fret"}'
    )
    with FetchCache(fake.web(), tmp_path / "cache", "test") as cache:
        cache.get_text("http://a.example/api", crawled=False, secret={"key": "s3c/ret"})
    files = [path.read_bytes() for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert len(files) == 3  # entry, bytes and lock
    assert not any(b"s3c" in content for content in files)
    assert fake.requested_paths() == ["/api?key=s3c%2Fret"]


def test_missing_contact_ends_the_run(fake: FakeWeb, tmp_path: Path):
    with pytest.raises(MissingContactError):
        collect(source_of(remote(0, fake)), fake.web(contact=""), tmp_path)


# --- the stage


def write_list(folder: Path, urls: list[str]) -> CollectParams:
    (folder / "lists").mkdir(parents=True)
    with (folder / "lists" / "list.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["url", "kind"], *([url, "portraits"] for url in urls)])
    return CollectParams(path=Path("lists"), limit=90, shard_size=20)


def test_stage_writes_shards_manifest_and_download_times(
    fake: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        remote(number, fake)
    urls = [f"http://a.example/{number}" for number in (0, 1, 2, 7)]
    dest = tmp_path / "data" / "raw" / "urls"
    stage.collect("urls", write_list(tmp_path, urls), fake.web(), dest)
    rows = manifest.read(dest / "manifest.csv")
    assert list(rows.columns) == MANIFEST_COLUMNS
    assert list(rows["status"]) == ["kept"] * 3 + ["http_error"]
    assert list(Shards(dest)) == list(rows["id"])[:3]
    times = pd.read_csv(dest / "fetched.csv", dtype=str)
    assert list(times["id"]) == list(rows["id"])[:3]
    assert times["fetched_at"].str.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ").all()
    write_collect_metrics(sorted((tmp_path / "data" / "raw").iterdir()), tmp_path / "collect.json")
    assert '"urls": {\n    "selfies": {},\n    "portraits": {\n      "http_error": 1,\n      "kept": 3' in (
        tmp_path / "collect.json"
    ).read_text(encoding="utf-8")


def test_second_run_requests_nothing_and_writes_equal_bytes(
    fake: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        remote(number, fake)
    fake.pages["a.example/moved"] = Reply("", 302, {"Location": "http://b.example/gone"})
    params = write_list(tmp_path, [f"http://a.example/{name}" for name in (0, 1, 2, 1, "moved", "none")])
    now = iter(f"2026-01-{day:02d}T00:00:00Z" for day in range(1, 28))
    monkeypatch.setattr("portraitist.collect.fetch_cache._now", lambda: next(now))
    outputs, requests = [], []
    for name in ("first", "second"):
        stage.collect("urls", params, fake.web(), tmp_path / name)
        outputs.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
        requests.append(len(fake.log))
    assert outputs[0] == outputs[1]
    assert outputs[0].keys() == {"00000.tar", "index.csv", "manifest.csv", "fetched.csv"}
    assert requests[0] == requests[1] > 5
    assert "collect urls: 5 responses were read from .fetch-cache\n" in capfd.readouterr().err


@pytest.mark.parametrize("full", ["cache", "shards"])
def test_full_disk_ends_the_stage_with_one_line(
    fake: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], full: str
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["collect", "--source", "urls", "--out", "out"])
    remote(0, fake)
    params = write_list(tmp_path, ["http://a.example/0"])
    monkeypatch.setattr(stage, "load_or_exit", lambda section, _: FETCH if section is FetchParams else params)
    monkeypatch.setattr(stage, "HttpClient", lambda *_: fake.web())

    def write_to_full_disk(*_: Any) -> None:
        Path("/dev/full").write_bytes(bytes(1 << 20))

    target = (HttpClient, "_save_picture") if full == "cache" else (tarfile.TarFile, "addfile")
    monkeypatch.setattr(*target, write_to_full_disk)
    with pytest.raises(OSError, match="No space left") as error:
        stage.main()
    print_error(error.type, error.value, None)
    file = r"\.fetch-cache/sources/urls/\.partial-\w+\.bytes" if full == "cache" else ".*/out/00000.tar"
    assert re.fullmatch(f"portraitist: collect: {file}: No space left on device\n", capsys.readouterr().err)


DRIVER = """
import socket, sys
from pathlib import Path
from pipeline.collect import collect
from portraitist.collect.http import HttpClient
from portraitist.collect.params import CollectParams, FetchParams
port = int(sys.argv[1])
fetch = FetchParams(
    contact="me@example.org", seconds_per_host=0, respect_robots=True, max_mb=1, deadline_s=9, connections=4
)
addresses = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
params = CollectParams(path=Path("lists"), limit=90, shard_size=20)
with HttpClient(fetch, allow={("127.0.0.1", port)}, resolve=lambda *_, **__: addresses) as web:
    collect("urls", params, web, Path("data/raw/urls"))
"""


def start(fake: FakeWeb, folder: Path) -> subprocess.Popen[bytes]:
    shutil.rmtree(folder / "data", ignore_errors=True)  # as DVC does before a stage
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    command = [sys.executable, "-c", DRIVER, str(fake.http_server.server_port)]
    return subprocess.Popen(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": path}, stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )


@pytest.mark.slow
def test_killed_run_resumes_with_identical_output(fake: FakeWeb, tmp_path: Path):
    pictures = {number: encoded(smooth(number), "PNG") for number in range(100)}

    def respond(path: str) -> Reply:
        time.sleep(0.02)
        number = int(path.strip("/"))
        if number % 17 == 5:
            return Reply("gone", 410)
        if number % 19 == 7:
            return Reply("", 302, {"Location": f"http://b.example/{number + 200}"})
        return Reply(pictures[number % 100 if number % 23 else 1])  # some are duplicates

    fake.pages["a.example"] = fake.pages["b.example"] = respond
    urls = [f"http://a.example/{number}" for number in range(100)]
    for name in ("killed", "uninterrupted"):
        write_list(tmp_path / name, urls)

    for after in (15, 45, 80):
        run = start(fake, tmp_path / "killed")
        while len(fake.requested_paths()) < after:
            assert run.poll() is None
            time.sleep(0.002)
        run.send_signal(signal.SIGKILL)
        run.communicate()
        assert not (tmp_path / "killed" / "data" / "raw" / "urls" / "manifest.csv").exists()
    resumed = start(fake, tmp_path / "killed")
    assert re.fullmatch(rb"collect urls: \d+ responses were read from .fetch-cache\n", resumed.communicate()[1])
    assert resumed.returncode == 0
    requests = Counter(fake.requested_paths())
    repeated = [path for path, count in requests.items() if count > 1]
    assert len(repeated) <= 3 * FETCH.connections  # those in flight when the run was killed
    assert max(requests.values()) <= 3

    fake.log.clear()
    uninterrupted = start(fake, tmp_path / "uninterrupted")
    assert uninterrupted.communicate()[1] == b""
    assert set(Counter(fake.requested_paths()).values()) == {1}
    assert set(fake.requested_paths()) == set(requests)
    names = ["00000.tar", "00001.tar", "00002.tar", "00003.tar", "00004.tar", "index.csv", "manifest.csv"]
    first, second = (tmp_path / name / "data" / "raw" / "urls" for name in ("killed", "uninterrupted"))
    assert sorted(path.name for path in first.iterdir()) == sorted([*names, "fetched.csv"])
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes()
    assert Counter(manifest.read(first / "manifest.csv")["status"]) == {"kept": 87, "http_error": 7, "duplicate": 6}
