"""The page for blind comparisons: protected against other sites; each answer is saved once."""

import csv
import random
import re
import socket
import urllib.error
import urllib.request

import pytest
from accessibility import small_controls, violations
from browser import tab
from tool_helpers import FACES, LEVELS, running_server, write_shards
from typer.testing import CliRunner

from portraitist.cli import app
from portraitist.compare.preferences import read_answers
from portraitist.core.image_io import decode_png
from portraitist.tools.preference_server import STATIC_FILES, PreferenceServer, create_questions

COMMAND = "compare"


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return write_shards(tmp_path_factory.mktemp("shards"))


@pytest.fixture
def answers(tmp_path):
    return tmp_path / "answers.csv"


def get(url, **headers):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as response:
        return response.read(), response.headers


def token_on(page):
    return re.search(r'name="token" value="([^"]+)"', page)[1]


def current_token(server):
    return token_on(get(server.address)[0].decode())


def post(server, form):
    request = urllib.request.Request(f"{server.address}answer", data=form.encode(), method="POST")
    with urllib.request.urlopen(request, timeout=10) as response:
        return response.read().decode()


def test_questions_cover_each_face_and_pair_once_in_random_order():
    methods = {name: dict.fromkeys(FACES) for name in ("a", "b", "c")}
    questions = create_questions(methods, set(), random.Random(3))
    assert sorted((q.face, *sorted((q.left, q.right))) for q in questions) == sorted(
        (face, *pair) for face in FACES for pair in (("a", "b"), ("a", "c"), ("b", "c"))
    )
    assert [q.face for q in questions] != sorted(q.face for q in questions)
    assert 8 < sum(q.left < q.right for q in questions) < 28
    assert len({q.token for q in questions}) == len(questions)
    repeated = create_questions(methods, set(), random.Random(3))
    assert [(q.face, q.left) for q in repeated] == [(q.face, q.left) for q in questions]


def test_answered_questions_are_skipped_whatever_the_sides():
    methods = {name: dict.fromkeys(FACES) for name in ("a", "b")}
    questions = create_questions(methods, {(FACES[0], frozenset(("b", "a")))}, random.Random(3))
    assert sorted(q.face for q in questions) == FACES[1:]


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ({"a": dict.fromkeys(FACES)}, "1 method with 12 faces"),
        ({"a": {"1": 0}, "b": {"2": 0}}, "2 methods with 0 faces"),
    ],
)
def test_one_method_or_no_common_face_is_an_error(methods, message):
    with pytest.raises(ValueError, match=message):
        create_questions(methods, set(), random.Random(3))


def test_page_is_blind_and_each_side_shows_its_method(shards, answers):
    with running_server(shards, answers) as server:
        page, headers = get(server.address)
        text = page.decode()
        assert not any(word in text for word in ("ours", "theirs", *FACES))
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        question, token = server.questions[0], token_on(text)
        for name, method in (("selfie", "selfies"), ("left", question.left), ("right", question.right)):
            data, _ = get(f"{server.address}{token}/{name}.png")
            assert decode_png(data)[0, 0, 0] == LEVELS[method]


def test_static_files_of_the_page_are_served(shards, answers):
    with running_server(shards, answers) as server:
        text = get(server.address)[0].decode()
        for path, (_, content_type) in STATIC_FILES.items():
            assert f'"{path}"' in text
            data, headers = get(f"{server.address}{path.strip('/')}")
            assert data
            assert headers["Content-Type"] == content_type


def test_answer_is_saved_once_and_next_question_is_shown(shards, answers):
    with running_server(shards, answers) as server:
        first = current_token(server)
        page = post(server, f"token={first}&choice=right")
        assert "Question 2 of 12" in page
        post(server, f"token={first}&choice=left")  # as after the back button, or from a second tab
        post(server, "token=guessed&choice=left")
        post(server, f"token={token_on(page)}&choice=both")
        question = server.questions[0]
        assert answers.read_text().splitlines() == [
            "id,left,right,preferred",
            f"{question.face},{question.left},{question.right},{question.right}",
        ]


def test_requests_of_other_sites_are_rejected(shards, answers):
    with running_server(shards, answers) as server:
        with pytest.raises(urllib.error.HTTPError, match="403"):
            get(server.address, Host="evil.example")
        token = current_token(server)
        for path in ("guessed/left.png", f"{token}/face.png", "../params.yaml", f"{token}/left.png/more"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                get(f"{server.address}{path}")
        with pytest.raises(urllib.error.HTTPError, match="400"):
            post(server, "x" * 2000)
        assert server.server_address[0] == "127.0.0.1"
    assert read_answers(answers).empty


@pytest.mark.parametrize("length", [b"\xb2", b"-1", b"", b"9" * 5000])
def test_malformed_content_length_is_rejected(shards, answers, length):
    with (
        running_server(shards, answers) as server,
        socket.create_connection(("127.0.0.1", server.server_port), 10) as connection,
    ):
        host = f"127.0.0.1:{server.server_port}".encode()
        connection.sendall(b"POST /answer HTTP/1.1\r\nHost: " + host + b"\r\nContent-Length: " + length + b"\r\n\r\n")
        assert connection.recv(1000).split()[1] == b"400"


def test_question_stays_open_if_the_answer_cannot_be_saved(shards, answers):
    with running_server(shards, answers) as server:
        token = current_token(server)
        answers.unlink()
        answers.mkdir()
        with pytest.raises(urllib.error.HTTPError, match="500") as error:
            post(server, f"token={token}&choice=left")
        assert b"Is a directory" in error.value.read()
        answers.rmdir()
        assert "Question 2 of 12" in post(server, f"token={token}&choice=left")
    assert len(read_answers(answers)) == 1


SIDES = {"ArrowLeft": "left", "ArrowRight": "right", "Enter": "right", "Space": "right", " ": None}


@pytest.mark.slow
def test_answers_by_keyboard_and_mouse_in_a_browser(shards, answers):
    urls = []
    with running_server(shards, answers, count=11) as server, tab(1280, 800) as page:
        page.on("request", lambda request: urls.append(request.url))
        page.goto(server.address)
        expected = []
        for number, action in enumerate(
            ["ArrowLeft", "ArrowRight", "left", "right", " ", "Enter", "Space", *["ArrowLeft"] * 4]
        ):
            page.wait_for_selector(f"text=Question {number + 1} of 11")
            page.wait_for_load_state()  # until all images are loaded
            question = server.questions[number]
            for key in ("Control+ArrowRight", "Shift+Space") if number == 0 else ():
                page.keyboard.press(key)  # answers nothing
                page.wait_for_timeout(200)
                assert page.is_visible("text=Question 1 of 11")
            assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth === 32)")
            if action in ("left", "right"):
                page.click(f"#{action}")
            elif action in ("Enter", "Space"):  # press the focused button
                page.keyboard.press("Tab")
                page.keyboard.press("Tab")
                page.keyboard.press(action)
            else:
                page.keyboard.press(action)
            side = SIDES.get(action, action)
            if side:
                expected.append([question.face, question.left, question.right, getattr(question, side)])
        page.wait_for_selector("text=Thank you.")
        with answers.open() as file:
            assert list(csv.reader(file))[1:] == expected
        assert len(expected) == 10
        assert all(url.startswith(server.address) for url in urls)
    with running_server(shards, answers) as server:
        assert len(server.questions) == 2  # the one without a preference, and the one that was not shown


@pytest.mark.slow
def test_page_fits_a_phone(shards, answers):
    with running_server(shards, answers) as server, tab(390, 844) as page:
        page.goto(server.address)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_accessible(shards, answers, scheme):
    with running_server(shards, answers) as server, tab(390, 844, color_scheme=scheme) as page:
        page.goto(server.address)
        assert violations(page) == []
        assert small_controls(page) == []


@pytest.fixture
def no_serving(monkeypatch):
    """Let the server stop at once, as by Ctrl-C."""

    def interrupt(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(PreferenceServer, "serve_forever", interrupt)


def test_command_prints_the_address(shards, answers, no_serving):
    words = [COMMAND, str(shards / "ours"), str(shards / "theirs"), "--selfies", str(shards / "selfies")]
    run = CliRunner().invoke(app, [*words, "--answers", str(answers), "--count", "7"])
    assert run.exit_code == 0, run.output
    assert re.match(r"7 questions at http://127\.0\.0\.1:\d+/ ", run.output)


def test_command_needs_two_folders_of_shards(shards, tmp_path, no_serving):
    run = CliRunner().invoke(app, [COMMAND, str(shards / "ours"), "--selfies", str(shards / "selfies")])
    assert (run.exit_code, "1 method with" in run.output) == (2, True)
    run = CliRunner().invoke(app, [COMMAND, str(tmp_path), str(shards / "ours")])
    assert (run.exit_code, str(tmp_path) in run.output) == (2, True)


def test_unusable_answers_file_exits_with_one_line(shards, tmp_path, no_serving):
    (tmp_path / "text.yaml").write_text("a:\n  b: 1\n  c: 1, 2, 3\n")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    words = [COMMAND, *(str(shards / name) for name in ("ours", "theirs")), "--selfies", str(shards / "selfies")]
    for path, message in (
        (tmp_path / "none" / "x.csv", "No such file or directory"),
        (tmp_path, "Is a directory"),
        (tmp_path / "text.yaml", "not a CSV of answers: Error tokenizing data"),
        (tmp_path / "bytes.csv", "not a CSV of answers: 'utf-8' codec"),
    ):
        before = path.read_bytes() if path.is_file() else None
        run = CliRunner().invoke(app, [*words, "--answers", str(path)])
        assert (run.exit_code, run.stdout, run.stderr.count("\n")) == (2, "", 1)
        assert run.stderr.startswith(f"portraitist: {path}: {message}")
        assert (path.read_bytes() if path.is_file() else None) == before
