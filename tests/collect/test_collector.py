"""What becomes of candidates: a row each, in their order, whatever fails; and a run that was killed goes on."""

import csv
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
from drawn import encoded, smooth
from fakeweb import FETCH, FakeWeb, Says, fake_web

from pipeline import collect as stage
from portraitist.collect.blocklist import Blocklist
from portraitist.collect.collector import Collected, collect_source
from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.http import HttpClient
from portraitist.collect.params import CollectParams, SearchParams
from portraitist.collect.sources import Candidate, SourceError
from portraitist.collect.ssrf import MissingContactError
from portraitist.core import manifest
from portraitist.core.files import LockedError
from portraitist.core.shards import Shards
from portraitist.reporting.stage_report import write_collect_metrics

ROOT = Path(__file__).resolve().parents[2]
PICTURES = [encoded(smooth(number), "PNG") for number in range(12)]


@pytest.fixture
def there(tmp_path: Path) -> Iterator[FakeWeb]:
    with fake_web(tmp_path) as web:
        yield web


def gives(*candidates: Candidate, **more: Any) -> Any:
    """A source of these candidates that notes how many were taken from it."""

    def found(params: CollectParams, ask: FetchCache) -> Iterator[Candidate]:
        for one in candidates:
            made.taken += 1
            yield one

    made: Any = ModuleType("made")
    vars(made).update(more | {"candidates": found, "taken": 0})
    return made


def collected(source: Any, web: HttpClient, folder: Path, limit: int = 99, **more: Any) -> list[Collected]:
    told = CollectParams(path=Path("none"), limit=limit, shard_size=5)
    if more:
        told = SearchParams(**told.model_dump(), **more)
    with FetchCache(web, folder / "spool") as spool:
        return list(collect_source("test", source, told, spool, web.blocklist))


def local(number: int, kind: Any = "selfies", **about: Any) -> Candidate:
    return Candidate(kind, f"{number}", lambda: PICTURES[number], **about)


def remote(number: int, there: FakeWeb, says: Says | None = None, **about: Any) -> Candidate:
    there.pages[f"a.example/{number}"] = says or Says(PICTURES[number])
    return Candidate("portraits", f"{number}", url=f"http://a.example/{number}", **about)


def statuses(rows: list[Collected]) -> list[tuple[str, str]]:
    return [(one.row["name"], one.row["status"]) for one in rows]


def test_every_candidate_has_a_row_in_its_order_and_what_is_kept_its_bytes(there: FakeWeb, tmp_path: Path):
    slow = Says(PICTURES[0], drip_s=0.0001)
    rows = collected(
        gives(
            remote(0, there, slow),
            remote(1, there),
            remote(2, there, Says("gone", 410)),
            local(3),
            Candidate("portraits", "file", url="file:///etc/hostname"),
            Candidate("portraits", "nothing"),
            local(3, group="again"),
            remote(1, there, author="who names it twice"),
        ),
        there.web(deadline_s=60),
        tmp_path,
    )
    assert statuses(rows) == [
        ("0", "kept"), ("1", "kept"), ("2", "http_error"), ("3", "kept"), ("file", "refused_scheme"),
        ("nothing", "refused_scheme"), ("3", "duplicate"), ("1", "duplicate"),
    ]  # fmt: skip
    kept = [one for one in rows if one.members]
    assert [one.members["bytes"] for one in kept if one.members] == [PICTURES[0], PICTURES[1], PICTURES[3]]
    assert [one.row["id"] for one in kept] == [manifest.picture_id(PICTURES[number]) for number in (0, 1, 3)]
    assert rows[1].row["final_url"] == "http://a.example/1"
    assert rows[2].row["reason"] == "status 410"
    assert [bool(one.when) for one in rows] == [True, True, False, False, False, False, False, False]
    assert there.asked().count("/1") == 1


def test_no_more_is_asked_for_than_is_wanted(there: FakeWeb, tmp_path: Path):
    bad = Says("gone", 410)
    source = gives(*(remote(number, there, bad if number in (1, 2, 4) else None) for number in range(12)))
    rows = collected(source, there.web(connections=3), tmp_path, 4, kind="portraits", queries=["x"])
    assert statuses(rows)[-1] == ("6", "kept")
    assert Counter(status for _, status in statuses(rows)) == {"kept": 4, "http_error": 3}
    assert sorted(there.asked()) == [f"/{number}" for number in range(7)]
    assert source.taken == 7


def test_the_limit_holds_for_each_kind_and_a_full_one_is_passed_over(there: FakeWeb, tmp_path: Path):
    source = gives(*(local(number) for number in range(5)), *(local(number, "portraits") for number in range(5, 9)))
    rows = collected(source, there.web(), tmp_path, limit=2)
    assert statuses(rows) == [("0", "kept"), ("1", "kept"), ("5", "kept"), ("6", "kept")]


def test_another_address_is_tried_when_the_first_gives_no_picture(there: FakeWeb, tmp_path: Path):
    there.pages["b.example/small"] = Says(PICTURES[9])
    others = ("http://b.example/none", "http://b.example/small")
    (row,) = collected(gives(remote(0, there, Says("gone", 404), others=others)), there.web(), tmp_path)
    assert (row.row["status"], row.row["url"]) == ("kept", "http://a.example/0")
    assert row.row["final_url"] == "http://b.example/small"


@pytest.mark.parametrize("header", ["noai", "noimageai"])
def test_who_opts_out_is_not_asked_for_a_copy(there: FakeWeb, tmp_path: Path, header: str):
    there.pages["b.example/copy"] = Says(PICTURES[1])
    out = remote(0, there, Says(PICTURES[0], headers={"X-Robots-Tag": header}), others=("http://b.example/copy",))
    rows = collected(gives(out, local(3)), there.web(), tmp_path)
    assert statuses(rows) == [("0", "opted_out"), ("3", "kept")]
    assert there.asked("b.example") == []


def test_the_blocklist_is_asked_before_the_fetch_and_after_it(there: FakeWeb, tmp_path: Path):
    digest = hashlib.sha256(PICTURES[2]).hexdigest()
    blocked = ("url:http://a.example/0", "host:shop.example", f"sha256:{digest[:16]}", "subject:selfies/anna")
    rows = collected(
        gives(
            remote(0, there),
            remote(1, there, page_url="http://www.shop.example/item"),
            remote(2, there),
            local(3, group="selfies/anna"),
            local(4),
        ),
        there.web(blocked=blocked),
        tmp_path,
    )
    assert [(one.row["status"], one.row.get("reason", "")) for one in rows] == [
        ("blocklisted", "url:http://a.example/0"),
        ("blocklisted", "host:shop.example"),
        ("blocklisted", f"sha256:{digest[:16]}"),
        ("blocklisted", "subject:selfies/anna"),
        ("kept", ""),
    ]
    assert there.asked() == ["/2"]


def test_a_picture_that_is_a_pair_becomes_two_and_the_whole_is_a_row(there: FakeWeb, tmp_path: Path):
    def parts(candidate: Candidate, data: bytes, params: CollectParams) -> list[Candidate]:
        halves = (local(7, "selfies", pair="p"), local(8, "portraits", pair="p"))
        return list(halves) if data == PICTURES[0] else []

    rows = collected(gives(remote(0, there), remote(1, there), parts=parts), there.web(), tmp_path)
    pair = manifest.picture_id(PICTURES[0])
    told = [(one.row["status"], one.row["kind"], one.row["pair"]) for one in rows]
    assert told == [
        ("split", "portraits", pair), ("kept", "selfies", "p"), ("kept", "portraits", "p"), ("kept", "portraits", "")
    ]  # fmt: skip
    assert [one.members is None for one in rows] == [True, False, False, False]


def test_a_source_without_any_picture_is_an_error_that_counts_what_was_met(there: FakeWeb, tmp_path: Path):
    source = gives(remote(0, there, Says("no", 403)), remote(1, there, Says("no", 403)), remote(2, there, Says("?")))
    with pytest.raises(SourceError, match="no picture could be had: 2 http_error, 1 not_a_picture"):
        collected(source, there.web(), tmp_path)
    with pytest.raises(SourceError, match="no picture could be had: there was no candidate"):
        collected(gives(), there.web(), tmp_path)


def test_a_refusal_in_the_middle_is_an_error_and_what_was_fetched_stays_for_the_next_run(
    there: FakeWeb, tmp_path: Path
):
    def refusing(params: CollectParams, ask: FetchCache) -> Iterator[Candidate]:
        yield from (remote(number, there) for number in range(3))
        if len(there.log) < 5:
            time.sleep(0.3)
            raise SourceError("a captcha")
        yield local(5)

    source = ModuleType("refusing")
    source.candidates = refusing
    with pytest.raises(SourceError, match="a captcha"):
        collected(source, there.web(), tmp_path)
    there.log.append(there.log[0])
    rows = collected(source, there.web(), tmp_path)
    assert [status for _, status in statuses(rows)] == ["kept"] * 4
    assert Counter(there.asked()) == {"/0": 1, "/1": 1, "/2": 1}


def test_after_a_refusal_nothing_more_is_asked_for(there: FakeWeb, tmp_path: Path):
    there.pages["a.example"] = lambda _: time.sleep(0.3) or Says(PICTURES[0])

    def refusing(params: CollectParams, ask: FetchCache) -> Iterator[Candidate]:
        yield from (Candidate("portraits", url=f"http://a.example/slow/{number}") for number in range(4))
        raise SourceError("a captcha")

    source = ModuleType("refusing")
    source.candidates = refusing
    with pytest.raises(SourceError, match="a captcha"):
        collected(source, there.web(connections=1), tmp_path)
    assert len(there.asked()) <= 2


def test_a_fault_that_may_pass_is_tried_again_by_the_next_run_and_another_is_not(there: FakeWeb, tmp_path: Path):
    cut = Says(PICTURES[0][:-30])
    faults = [cut, *(Says("", status) for status in (500, 502, 504, 404, 410))]
    for _ in range(2):
        candidates = [remote(number, there, fault) for number, fault in enumerate(faults)]
        rows = collected(gives(*candidates, local(6)), there.web(), tmp_path)
    assert [status for _, status in statuses(rows)] == ["cut_off", *["http_error"] * 5, "kept"]
    assert Counter(there.asked()) == {"/0": 2, "/1": 2, "/2": 2, "/3": 2, "/4": 1, "/5": 1}


def test_two_runs_do_not_share_a_spool(there: FakeWeb, tmp_path: Path):
    with (
        FetchCache(there.web(), tmp_path / "spool"),
        pytest.raises(LockedError, match="another run is at the same work"),
        FetchCache(there.web(), tmp_path / "spool"),
    ):
        pass


def test_a_page_is_asked_once_a_run_of_runs_and_a_refusal_again(there: FakeWeb, tmp_path: Path):
    there.pages["a.example/p"] = Says("results")
    there.pages["a.example/q"] = Says("wait", 403)
    for _ in range(2):
        with FetchCache(there.web(), tmp_path / "spool") as spool:
            assert spool.text("http://a.example/p", crawled=False).text == "results"
            assert spool.text("http://a.example/q", crawled=False).status == 403
    assert Counter(there.asked()) == {"/p": 1, "/q": 2}
    with FetchCache(there.web(), tmp_path / "spool") as spool:
        spool.forget("http://a.example/p")
        spool.text("http://a.example/p", crawled=False)
    assert there.asked().count("/p") == 2


def test_no_contact_ends_the_run_and_is_no_row(there: FakeWeb, tmp_path: Path):
    with pytest.raises(MissingContactError):
        collected(gives(remote(0, there)), there.web(contact=""), tmp_path)


# --- the stage


def listed(folder: Path, urls: list[str]) -> CollectParams:
    (folder / "lists").mkdir(parents=True)
    with (folder / "lists" / "list.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["url", "kind"], *([url, "portraits"] for url in urls)])
    return CollectParams(path=Path("lists"), limit=90, shard_size=20)


def test_the_stage_leaves_shards_a_manifest_and_when_what_was_fetched(
    there: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        remote(number, there)
    urls = [f"http://a.example/{number}" for number in (0, 1, 2, 7)]
    dest = tmp_path / "data" / "raw" / "urls"
    stage.main("urls", listed(tmp_path, urls), there.web(), dest)
    frame = manifest.read(dest / "manifest.csv")
    assert list(frame.columns) == stage.COLUMNS
    assert list(frame["status"]) == ["kept"] * 3 + ["http_error"]
    assert list(Shards(dest)) == list(frame["id"])[:3]
    times = pd.read_csv(dest / "fetched.csv", dtype=str)
    assert list(times["id"]) == list(frame["id"])[:3]
    assert times["fetched_at"].str.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ").all()
    assert not (tmp_path / ".checkpoints").exists()
    write_collect_metrics(manifest.source_folders(tmp_path / "data" / "raw"), tmp_path / "collect.json")
    assert '"urls": {\n    "selfies": {},\n    "portraits": {\n      "http_error": 1,\n      "kept": 3' in (
        tmp_path / "collect.json"
    ).read_text(encoding="utf-8")


def test_a_source_that_is_left_out_leaves_an_empty_folder_and_imports_nothing_long(tmp_path: Path):
    code = (
        "import sys; from pathlib import Path; from pipeline import collect; collect.leave_out(Path('out'));"
        "print(sorted({'pandas', 'numpy', 'torch', 'icrawler', 'PIL'} & set(sys.modules)))"
    )
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    env = os.environ | {"PYTHONPATH": path}
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    assert ran.stdout == "[]\n"
    assert len(manifest.read(tmp_path / "out" / "manifest.csv")) == 0
    assert len(Shards(tmp_path / "out")) == 0


DRIVER = """
import socket, sys
from pathlib import Path
from pipeline.collect import main
from portraitist.fetch import Web
from portraitist.params import CollectParams, SearchParams, FetchParams
port = int(sys.argv[1])
fetching = FetchParams(
    contact="me@example.org", seconds_per_host=0, respect_robots=True, max_mb=1, deadline_s=9, connections=4
)
here = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
params = CollectParams(path=Path("lists"), limit=90, shard_size=20)
with Web(fetching, allow={("127.0.0.1", port)}, resolve=lambda *_, **__: here) as web:
    main("urls", params, web, Path("data/raw/urls"))
"""


def started(there: FakeWeb, folder: Path) -> subprocess.Popen[bytes]:
    shutil.rmtree(folder / "data", ignore_errors=True)  # as DVC does
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    command = [sys.executable, "-c", DRIVER, str(there.plain.server_port)]
    return subprocess.Popen(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": path}, stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_fetches_nothing_twice_and_ends_as_an_undisturbed_one(
    there: FakeWeb, tmp_path: Path
):
    whole = {number: encoded(smooth(number), "PNG") for number in range(100)}

    def says(path: str) -> Says:
        time.sleep(0.02)
        number = int(path.strip("/"))
        if number % 17 == 5:
            return Says("gone", 410)
        if number % 19 == 7:
            return Says("", 302, {"Location": f"http://b.example/{number + 200}"})
        return Says(whole[number % 100 if number % 23 else 1])  # some are the same

    there.pages["a.example"] = there.pages["b.example"] = says
    urls = [f"http://a.example/{number}" for number in range(100)]
    for name in ("killed", "undisturbed"):
        listed(tmp_path / name, urls)

    for after in (15, 45, 80):
        run = started(there, tmp_path / "killed")
        while len(there.asked()) < after:
            assert run.poll() is None
            time.sleep(0.002)
        run.send_signal(signal.SIGKILL)
        run.communicate()
        assert not (tmp_path / "killed" / "data" / "raw" / "urls" / "manifest.csv").exists()
    last = started(there, tmp_path / "killed")
    assert last.communicate()[1] == b""
    assert last.returncode == 0
    asked = Counter(there.asked())
    twice = [path for path, count in asked.items() if count > 1]
    assert len(twice) <= 3 * FETCH.connections  # those that were under way when the run was killed
    assert max(asked.values()) <= 3

    there.log.clear()
    other = started(there, tmp_path / "undisturbed")
    assert other.communicate()[1] == b""
    assert set(Counter(there.asked()).values()) == {1}
    assert set(there.asked()) == set(asked)
    names = ["00000.tar", "00001.tar", "00002.tar", "00003.tar", "00004.tar", "index.csv", "manifest.csv"]
    ones, others = (tmp_path / name / "data" / "raw" / "urls" for name in ("killed", "undisturbed"))
    assert sorted(path.name for path in ones.iterdir()) == sorted([*names, "fetched.csv"])
    for name in names:
        assert (ones / name).read_bytes() == (others / name).read_bytes()
    assert Counter(manifest.read(ones / "manifest.csv")["status"]) == {"kept": 87, "http_error": 7, "duplicate": 6}
    assert not (tmp_path / "killed" / ".checkpoints").exists()


def test_a_blocklist_that_is_empty_blocks_nothing():
    assert Blocklist().why(["http://a.example"]) == ""
