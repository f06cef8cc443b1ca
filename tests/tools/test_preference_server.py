"""The page that asks people, as a browser and as a stranger sees it; what is kept of the answers, and counted."""

import csv
import random
import re
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browser import tab
from typer.testing import CliRunner

from portraitist.cli import app
from portraitist.compare.preferences import append_answer, read_answers
from portraitist.core.image_io import decode_png, encode_png
from portraitist.core.shards import Shards, ShardWriter
from portraitist.stats.bradley_terry import strengths, win_rates
from portraitist.tools.preference_server import PreferenceServer, questions

ROOT = Path(__file__).resolve().parents[2]
FACES = [f"{number:016x}" for number in range(12)]
LEVELS = {"selfies": 40, "ours": 120, "theirs": 200}  # of each set's plain pictures


@pytest.fixture(scope="module")
def painted(tmp_path_factory):
    at = tmp_path_factory.mktemp("painted")
    for name, level in LEVELS.items():
        with ShardWriter(at / name, 5) as shards:
            for face in FACES:
                shards.add(face, {"png": encode_png(np.full((32, 32, 3), level, np.uint8))})
    return at


@contextmanager
def served(painted, answers_at, count=50, seed=1):
    methods = {name: Shards(painted / name) for name in ("ours", "theirs")}
    with PreferenceServer(methods, Shards(painted / "selfies"), answers_at, count, random.Random(seed), 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def get(address, **headers):
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=10) as answer:
        return answer.read(), answer.headers


def secret_on(page):
    return re.search(r'name="secret" value="([^"]+)"', page)[1]


def post(server, form):
    request = urllib.request.Request(f"{server.address}answer", data=form.encode(), method="POST")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


def test_questions_are_every_face_and_pair_once_in_random_order_and_on_random_sides():
    methods = {name: dict.fromkeys(FACES) for name in ("a", "b", "c")}
    asked = questions(methods, set(), random.Random(3))
    assert sorted((q.face, *sorted((q.left, q.right))) for q in asked) == sorted(
        (face, *pair) for face in FACES for pair in (("a", "b"), ("a", "c"), ("b", "c"))
    )
    assert [q.face for q in asked] != sorted(q.face for q in asked)
    assert 8 < sum(q.left < q.right for q in asked) < 28
    assert len({q.secret for q in asked}) == len(asked)
    assert [(q.face, q.left) for q in questions(methods, set(), random.Random(3))] == [(q.face, q.left) for q in asked]


def test_what_was_judged_is_not_asked_again_whatever_the_sides():
    methods = {name: dict.fromkeys(FACES) for name in ("a", "b")}
    asked = questions(methods, {(FACES[0], frozenset(("b", "a")))}, random.Random(3))
    assert sorted(q.face for q in asked) == FACES[1:]


def test_one_method_or_no_common_face_is_refused():
    with pytest.raises(ValueError, match="1 methods with 12 faces in common"):
        questions({"a": dict.fromkeys(FACES)}, set(), random.Random(3))
    with pytest.raises(ValueError, match="2 methods with 0 faces in common"):
        questions({"a": {"1": 0}, "b": {"2": 0}}, set(), random.Random(3))


def test_the_page_is_blind_and_each_side_shows_its_method(painted, tmp_path):
    with served(painted, tmp_path / "judge.csv") as server:
        page, headers = get(server.address)
        text = page.decode()
        assert not any(word in text for word in ("ours", "theirs", *FACES))
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        question, secret = server.open[0], secret_on(text)
        for which, name in (("selfie", "selfies"), ("left", question.left), ("right", question.right)):
            data, _ = get(f"{server.address}{secret}/{which}.png")
            assert decode_png(data)[0, 0, 0] == LEVELS[name]


def test_an_answer_is_kept_once_and_the_next_question_comes(painted, tmp_path):
    with served(painted, tmp_path / "judge.csv") as server:
        first = secret_on(get(server.address)[0].decode())
        page = post(server, f"secret={first}&choice=right")
        assert "Question 2 of 12" in page
        post(server, f"secret={first}&choice=left")  # the back button, or a second tab
        post(server, "secret=guessed&choice=left")
        post(server, f"secret={secret_on(page)}&choice=both")
        question = server.open[0]
        rows = (tmp_path / "judge.csv").read_text().splitlines()
        assert rows == [
            "id,left,right,preferred",
            f"{question.face},{question.left},{question.right},{question.right}",
        ]


def test_a_stranger_gets_nothing(painted, tmp_path):
    with served(painted, tmp_path / "judge.csv") as server:
        with pytest.raises(urllib.error.HTTPError, match="403"):
            get(server.address, Host="evil.example")
        secret = secret_on(get(server.address)[0].decode())
        for path in ("guessed/left.png", f"{secret}/face.png", "../params.yaml", f"{secret}/left.png/more"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                get(f"{server.address}{path}")
        with pytest.raises(urllib.error.HTTPError, match="400"):
            post(server, "x" * 2000)
        assert server.server_address[0] == "127.0.0.1"
    assert read_answers(tmp_path / "judge.csv").empty


def test_an_answer_that_cannot_be_kept_is_said_and_the_question_stays_open(painted, tmp_path):
    with served(painted, tmp_path / "judge.csv") as server:
        secret = secret_on(get(server.address)[0].decode())
        (tmp_path / "judge.csv").unlink()
        (tmp_path / "judge.csv").mkdir()
        with pytest.raises(urllib.error.HTTPError, match="500") as error:
            post(server, f"secret={secret}&choice=left")
        assert error.value.read() == b"Not kept: Is a directory. Go back and answer again."
        (tmp_path / "judge.csv").rmdir()
        assert "Question 2 of 12" in post(server, f"secret={secret}&choice=left")
    assert len(read_answers(tmp_path / "judge.csv")) == 1


@pytest.mark.slow
def test_a_person_judges_ten_pairs_by_keyboard_and_mouse_in_a_browser(painted, tmp_path):
    asked = []
    with served(painted, tmp_path / "judge.csv", count=11) as server, tab(1280, 800) as page:
        page.on("request", lambda request: asked.append(request.url))
        page.goto(server.address)
        wanted = []
        for number, how in enumerate(["ArrowLeft", "ArrowRight", "left", "right", " ", "Tab", *["ArrowLeft"] * 5]):
            page.wait_for_selector(f"text=Question {number + 1} of 11")
            question = server.open[number]
            assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth === 32)")
            if how in ("left", "right"):
                page.click(f"#{how}")
            elif how == "Tab":
                page.keyboard.press("Tab")
                page.keyboard.press("Tab")
                page.keyboard.press("Enter")
            else:
                page.keyboard.press(how)
            side = {"ArrowLeft": "left", "ArrowRight": "right", "Tab": "right", " ": None}.get(how, how)
            if side:
                wanted.append([question.face, question.left, question.right, getattr(question, side)])
        page.wait_for_selector("text=Thank you.")
        with (tmp_path / "judge.csv").open() as file:
            assert list(csv.reader(file))[1:] == wanted
        assert len(wanted) == 10
        assert all(url.startswith(server.address) for url in asked)
    with served(painted, tmp_path / "judge.csv") as server:
        assert len(server.open) == 2  # the one that could not be told, and the one not asked


@pytest.mark.slow
def test_the_page_fits_a_phone(painted, tmp_path):
    with served(painted, tmp_path / "judge.csv") as server, tab(390, 844) as page:
        page.goto(server.address)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_command_says_where_the_page_is_and_refuses_what_is_no_folder_of_shards(painted, tmp_path, monkeypatch):
    monkeypatch.setattr(PreferenceServer, "serve_forever", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
    words = ["judge", str(painted / "ours"), str(painted / "theirs"), "--selfies", str(painted / "selfies")]
    ran = CliRunner().invoke(app, [*words, "--answers", str(tmp_path / "judge.csv"), "--count", "7"])
    assert ran.exit_code == 0, ran.output
    assert re.match(r"7 questions at http://127\.0\.0\.1:\d+/ ", ran.output)
    ran = CliRunner().invoke(app, ["judge", str(painted / "ours"), "--selfies", str(painted / "selfies")])
    assert (ran.exit_code, "two methods are needed" in ran.output) == (2, True)
    ran = CliRunner().invoke(app, ["judge", str(tmp_path), str(painted / "ours")])
    assert (ran.exit_code, "holds no shards" in ran.output) == (2, True)


def test_answers_that_cannot_be_kept_or_are_none_end_the_command_in_one_line(painted, tmp_path, monkeypatch):
    monkeypatch.setattr(PreferenceServer, "serve_forever", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
    (tmp_path / "text.yaml").write_text("a:\n  b: 1\n  c: 1, 2, 3\n")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    words = ["judge", *(str(painted / name) for name in ("ours", "theirs")), "--selfies", str(painted / "selfies")]
    for path, told in (
        (tmp_path / "none" / "x.csv", "No such file or directory"),
        (tmp_path, "Is a directory"),
        (tmp_path / "text.yaml", "not a CSV of answers: Error tokenizing data"),
        (tmp_path / "bytes.csv", "not a CSV of answers: 'utf-8' codec"),
    ):
        before = path.read_bytes() if path.is_file() else None
        ran = CliRunner().invoke(app, [*words, "--answers", str(path)])
        assert (ran.exit_code, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)
        assert ran.stderr.startswith(f"portraitist: {path}: {told}")
        assert (path.read_bytes() if path.is_file() else None) == before


# What is kept, and counted


def given(*rows):
    return pd.DataFrame(rows, columns=["id", "left", "right", "preferred"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,left,right\n1,a,b\n", "columns id, left, right, preferred expected"),
        ("id,left,right,preferred\n1,a,b,a\n2,a,b,c\n", "line 3: 'c' is preferred, but not shown"),
    ],
)
def test_a_file_that_holds_no_answers_is_refused(tmp_path, text, message):
    (tmp_path / "judge.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_answers(tmp_path / "judge.csv")


def test_what_was_recorded_is_read_again(tmp_path):
    append_answer(tmp_path / "judge.csv", "00123", "ours", "theirs", "theirs")
    append_answer(tmp_path / "judge.csv", "1e3", "theirs", "ours", "theirs")
    assert read_answers(tmp_path / "judge.csv").to_numpy().tolist() == [
        ["00123", "ours", "theirs", "theirs"],
        ["1e3", "theirs", "ours", "theirs"],
    ]


def test_an_answer_after_a_line_without_an_end_is_a_line_of_its_own(tmp_path):
    (tmp_path / "judge.csv").write_text("id,left,right,preferred\n1,a,b,a")
    append_answer(tmp_path / "judge.csv", "2", "a", "b", "b")
    assert list(read_answers(tmp_path / "judge.csv")["id"]) == ["1", "2"]


def test_the_shipped_file_holds_no_answer():
    frame = read_answers(ROOT / "metrics" / "judge.csv")
    assert win_rates(frame).empty


def test_two_methods_win_by_their_share_of_answers_with_half_a_win_each_way():
    rows = [(str(face), "a", "b", "a" if face < 15 else "b") for face in range(20)]
    strength = strengths(given(*rows), ["a", "b"])
    assert strength[0] / strength.sum() == pytest.approx(15.5 / 21)


def test_strengths_are_where_the_likelihood_is_greatest():
    rng = np.random.default_rng(0)
    truth = {"a": 4.0, "b": 2.0, "c": 1.0}
    rows = []
    for number in range(6000):
        left, right = rng.permutation(list(truth))[:2]
        wins = rng.random() < truth[left] / (truth[left] + truth[right])
        rows.append((str(number), left, right, left if wins else right))
    strength = strengths(given(*rows), list(truth))
    assert strength == pytest.approx([4 / 7, 2 / 7, 1 / 7], rel=0.1)
    assert all(one > other for one, other in pairwise(strength))


@pytest.mark.slow
def test_win_rates_know_how_sure_they_are():
    few = win_rates(given(*((str(face), "a", "b", "a" if face % 4 else "b") for face in range(12))))
    many = win_rates(given(*((str(face), "b", "a", "a" if face % 4 else "b") for face in range(240))))
    for frame, answered in ((few, 12), (many, 240)):
        (row,) = frame.to_dict("records")
        assert (row["method"], row["against"], row["answers"]) == ("a", "b", answered)
        assert row["low"] < row["preferred"] < row["high"]
    assert many["high"][0] - many["low"][0] < 0.4 * (few["high"][0] - few["low"][0])
    assert many["low"][0] > 0.5


def test_answers_on_one_face_are_sure_of_nothing():
    (row,) = win_rates(given(*[("1", "a", "b", "a")] * 9)).to_dict("records")
    assert (row["low"], row["high"], row["faces"]) == (0, 1, 1)
