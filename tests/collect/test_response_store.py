"""The cache of responses: no response is requested twice, except errors that may be temporary."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from drawn import encoded, smooth
from fakeweb import FakeWeb, Reply, fake_web
from filelock import Timeout

from portraitist.collect.blocklist import Blocklist
from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.http import Download, HttpClient
from portraitist.collect.response_store import clear, remove_blocked, source_lock, store_folder, usage
from portraitist.collect.ssrf import FetchError
from portraitist.core.files import LockedError

PICTURES = [encoded(smooth(number), "PNG") for number in range(3)]
URLS = [f"http://a.example/{number}" for number in range(3)]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeWeb]:
    with fake_web(tmp_path) as web:
        web.pages |= {f"a.example/{number}": Reply(data) for number, data in enumerate(PICTURES)}
        web.pages["a.example/page"] = Reply("results")
        yield web


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


def fetch(web: HttpClient, folder: Path, *urls: str, source: str = "test") -> list[str]:
    """Download pictures; return the content or the status of each."""
    outcomes = []
    with FetchCache(web, folder, source) as cache:
        for url in urls:
            try:
                outcomes.append(str(PICTURES.index(cache.download(url)[1].read_bytes())))
            except FetchError as error:
                outcomes.append(error.status.value)
    return outcomes


def files(folder: Path, pattern: str) -> list[Path]:
    return sorted(path for path in folder.rglob(pattern) if path.is_file())


def test_second_run_requests_nothing_not_even_robots_txt(fake: FakeWeb, folder: Path):
    for _ in range(2):
        with FetchCache(fake.web(), folder, "test") as cache:
            results = [cache.download(URLS[0]), cache.get_text("http://a.example/page", crawled=True)]
    assert results[0][1].read_bytes() == PICTURES[0]
    assert results[1].text == "results"
    assert cache.num_stored == 2
    assert Counter(request.path for request in fake.log) == {"/robots.txt": 1, "/0": 1, "/page": 1}


def test_time_of_the_first_download_is_kept(fake: FakeWeb, folder: Path, monkeypatch: pytest.MonkeyPatch):
    times = []
    for now in ("2026-01-01T00:00:00Z", "2026-02-02T00:00:00Z"):
        monkeypatch.setattr("portraitist.collect.fetch_cache._now", lambda now=now: now)
        with FetchCache(fake.web(), folder, "test") as cache:
            times.append(cache.download(URLS[0])[2])
    assert times == ["2026-01-01T00:00:00Z"] * 2


def test_equal_bytes_are_stored_once(fake: FakeWeb, folder: Path):
    fake.pages["a.example/copy"] = Reply(PICTURES[0])
    fetch(fake.web(), folder, URLS[0], "http://a.example/copy")
    fetch(fake.web(), folder, URLS[0], source="other")
    assert len(files(folder / "bytes", "*")) == 1
    assert len(files(folder / "sources", "*.json")) == 3


def test_temporary_failures_are_requested_again(fake: FakeWeb, folder: Path):
    statuses = (404, 403, 408, 429, 500, 503)
    fake.pages |= {f"a.example/s{status}": Reply("", status) for status in statuses}
    for _ in range(2):
        fetch(fake.web(), folder, *(f"http://a.example/s{status}" for status in statuses))
    counts = Counter(fake.requested_paths())
    assert {status for status in statuses if counts[f"/s{status}"] == 2} == {408, 429, 500, 503}


def test_private_address_is_a_temporary_failure(fake: FakeWeb, folder: Path):
    hijacked = fake.web()
    hijacked.resolve = lambda *_, **__: [(2, 1, 6, "", ("10.0.0.1", 80))]
    assert fetch(hijacked, folder, URLS[0]) == ["refused_address"]
    assert fetch(fake.web(), folder, URLS[0]) == ["0"]


def test_unreachable_robots_txt_is_a_temporary_failure(fake: FakeWeb, folder: Path):
    fake.pages["a.example/robots.txt"] = Reply("", 500)
    assert fetch(fake.web(), folder, URLS[0]) == ["robots_denied"]
    del fake.pages["a.example/robots.txt"]
    assert fetch(fake.web(), folder, URLS[0]) == ["0"]


def test_entry_made_without_robots_txt_is_not_used_with_it(fake: FakeWeb, folder: Path):
    fake.pages["a.example/robots.txt"] = Reply("User-agent: *\nDisallow: /")
    assert fetch(fake.web(respect_robots=False), folder, URLS[0]) == ["0"]
    assert fetch(fake.web(), folder, URLS[0]) == ["robots_denied"]
    assert fetch(fake.web(respect_robots=False), folder, URLS[0]) == ["0"]


def test_size_limit_applies_to_stored_pictures_too(fake: FakeWeb, folder: Path):
    megabytes = len(PICTURES[0]) / 1e6
    runs = [(megabytes / 2, "too_large"), (megabytes * 2, "0"), (megabytes / 2, "too_large"), (megabytes * 2, "0")]
    for max_mb, outcome in runs:
        assert fetch(fake.web(max_mb=max_mb), folder, URLS[0]) == [outcome]
    assert fake.requested_paths() == ["/0", "/0"]


def test_blocklisted_bytes_are_neither_stored_nor_requested_again(fake: FakeWeb, folder: Path):
    sha256 = "sha256:" + hashlib.sha256(PICTURES[0]).hexdigest()
    for _ in range(2):
        assert fetch(fake.web(blocked=(sha256,)), folder, URLS[0]) == ["blocklisted"]
    assert files(folder / "bytes", "*") == []
    assert fake.requested_paths() == ["/0"]
    assert fetch(fake.web(), folder, URLS[0]) == ["0"]  # without the blocklist's line, the picture is downloaded again
    for blocked in (sha256, f"url:{URLS[0]}"):
        assert fetch(fake.web(blocked=(blocked,)), folder, URLS[0]) == ["blocklisted"]


def test_target_of_a_redirect_that_is_blocked_later_is_not_used(fake: FakeWeb, folder: Path):
    fake.pages["b.example/moved"] = Reply("", 302, {"Location": URLS[0]})
    url = "http://b.example/moved"
    assert fetch(fake.web(), folder, url) == ["0"]
    assert fetch(fake.web(blocked=(f"url:{URLS[0]}",)), folder, url) == ["blocklisted"]


def test_simultaneous_downloads_of_one_url_do_not_share_a_file(
    fake: FakeWeb, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    threads = 4
    together, web = threading.Barrier(threads), fake.web(connections=threads)
    download = web.download

    def wait_after_download(url: str, path: Path) -> Download:
        result = download(url, path)
        together.wait(10)
        return result

    monkeypatch.setattr(web, "download", wait_after_download)
    with FetchCache(web, folder, "test") as cache, ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(cache.download, [URLS[0]] * threads))
    assert [path.read_bytes() for _, path, _ in found] == [PICTURES[0]] * threads


def test_url_with_a_password_is_not_stored(fake: FakeWeb, folder: Path):
    assert fetch(fake.web(), folder, "http://me:secret@a.example/0") == ["refused_address"]
    assert files(folder, "*") == []


@pytest.mark.parametrize("damage", ["cut", "missing", "entry"])
def test_incomplete_entry_is_requested_again(fake: FakeWeb, folder: Path, damage: str):
    fetch(fake.web(), folder, URLS[0])
    (stored,) = files(folder / "bytes", "*")
    if damage == "missing":
        stored.unlink()
    else:
        path = stored if damage == "cut" else files(folder / "sources", "*.json")[0]
        path.write_bytes(path.read_bytes()[:20])
    assert fetch(fake.web(), folder, URLS[0]) == ["0"]
    assert fake.requested_paths() == ["/0", "/0"]


def test_leftovers_of_a_killed_run_are_removed(fake: FakeWeb, folder: Path):
    fetch(fake.web(), folder, URLS[0])
    leftover = folder / "sources" / "test" / ".partial-1-2.bytes"
    leftover.write_bytes(b"half a picture")
    fetch(fake.web(), folder, URLS[0])
    assert not leftover.exists()


def test_store_is_beside_dvc_yaml_of_the_workspace(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("DVC_ROOT", raising=False)
    assert store_folder() == Path(".fetch-cache")
    monkeypatch.setenv("DVC_ROOT", "/repository")
    assert store_folder() == Path("/repository/.fetch-cache")


def test_local_source_creates_no_store(fake: FakeWeb, folder: Path):
    with FetchCache(fake.web(), folder, "folder"):
        pass
    assert not folder.exists()


OTHER_PROCESS = """
import sys
from pathlib import Path
from portraitist.collect.fetch_cache import FetchCache
with FetchCache(None, Path(sys.argv[1]), "test") as cache:
    cache._open()
    print("locked", flush=True)
    sys.stdin.readline()
"""


def test_second_process_waits_for_the_first(fake: FakeWeb, folder: Path):
    env = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", OTHER_PROCESS, str(folder)]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, env=env, text=True, **pipes) as first:
        assert first.stdout.readline() == "locked\n"
        with pytest.raises(LockedError, match="test"):
            clear(folder)
        # the lock of one source does not block another
        assert fetch(fake.web(), folder, URLS[1], source="other") == ["1"]
        with subprocess.Popen(command, env=env, text=True, **pipes) as second:
            assert "waiting until it has finished" in second.stderr.readline()
            assert second.poll() is None
            first.communicate("done\n")
            assert second.communicate("done\n")[0] == "locked\n"


def test_clear_removes_one_source_and_only_its_bytes(fake: FakeWeb, folder: Path):
    fetch(fake.web(), folder, URLS[0], URLS[1])
    fetch(fake.web(), folder, URLS[1], URLS[2], source="other")
    clear(folder, ["test"])
    assert [entry.source for entry in usage(folder)] == ["other"]
    assert sorted(path.read_bytes() for path in files(folder / "bytes", "*")) == sorted(PICTURES[1:])
    clear(folder)
    assert not folder.exists()


def test_usage_counts_pictures_pages_and_failures(fake: FakeWeb, folder: Path):
    fetch(fake.web(), folder, URLS[0], "http://a.example/none")
    with FetchCache(fake.web(), folder, "test") as cache:
        cache.get_text("http://a.example/page", crawled=False)
    (found,) = usage(folder)
    assert (found.source, found.pictures, found.pages, found.failures) == ("test", 1, 1, 1)
    assert found.megabytes == pytest.approx((len(PICTURES[0]) + len("results")) / 1e6)
    assert found.oldest <= found.newest


@pytest.mark.parametrize("entry", ["sha256", "url", "host", "redirect"])
def test_blocked_pictures_are_removed_with_their_bytes(fake: FakeWeb, folder: Path, entry: str):
    fake.pages["b.example/moved"] = Reply("", 302, {"Location": "http://a.example/0"})
    fetch(fake.web(), folder, "http://b.example/moved", "http://c.example/none")
    fetch(fake.web(), folder, URLS[1], source="other")
    digest = hashlib.sha256(PICTURES[0]).hexdigest()
    line = {"sha256": f"sha256:{digest}", "url": "url:http://b.example/moved", "host": "host:b.example"}
    blocked = Blocklist.of([line.get(entry, "url:http://a.example/0")])
    assert remove_blocked(folder, blocked) == 1
    assert [path.read_bytes() for path in files(folder / "bytes", "*")] == [PICTURES[1]]
    left = [json.loads(path.read_text())["url"] for path in files(folder / "sources", "*.json")]
    assert sorted(left) == [URLS[1], "http://c.example/none"]
    assert remove_blocked(folder, blocked) == 0


@pytest.mark.parametrize("damaged", [b"", b'{"kind": "pic'])
def test_damaged_entry_hinders_nothing(fake: FakeWeb, folder: Path, damaged: bytes):
    fetch(fake.web(), folder, *URLS)
    fetch(fake.web(), folder, URLS[1], source="other")
    (path,) = (path for path in files(folder / "sources" / "test", "*.json") if URLS[0] in path.read_text())
    path.write_bytes(damaged)
    assert [entry.pictures for entry in usage(folder)] == [1, 2]
    assert remove_blocked(folder, Blocklist.of([f"url:{URLS[2]}"])) == 1
    assert fetch(fake.web(), folder, URLS[0]) == ["0"]
    clear(folder, ["test"])
    assert [path.read_bytes() for path in files(folder / "bytes", "*")] == [PICTURES[1]]


def test_lock_excludes_other_processes_and_threads(folder: Path):
    with source_lock(folder, "test"), pytest.raises(Timeout):
        source_lock(folder, "test").acquire(timeout=0)
