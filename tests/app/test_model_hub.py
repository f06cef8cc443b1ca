"""Models of the Hugging Face hub; a server on this machine replaces the hub."""

import hashlib
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from server_thread import in_thread

from portraitist.app import model_hub
from portraitist.app.model_file import ModelError
from portraitist.app.model_hub import find_model

COMMIT, LATER = "a" * 40, "b" * 40
DATA = b"a model" * 100
NAME = "hf://anna/portraits"


def git_blob(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Hub(ThreadingHTTPServer):
    """A hub with one repository: files by commit, commits by revision, and a log of requests."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.revisions = {COMMIT: DATA}, {"main": COMMIT, COMMIT: COMMIT, "refs/pr/1": COMMIT}
        self.tag, self.is_large, self.sent, self.error, self.requests = (
            hashlib.sha256(DATA).hexdigest(),
            True,
            None,
            None,
            [],
        )

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.server.requests.append((self.command, self.path))
        parts = self.path.strip("/").split("/")
        commit = self.server.revisions.get(parts[3].replace("%2F", "/")) if len(parts) == 5 else None
        if self.server.error:
            self.reply(*self.server.error)
        elif parts[0] == "moved":
            self.reply(307, {"Location": self.path.replace("/moved/", "/anna/")})
        elif parts[0] == "cdn":
            data = self.server.files[parts[1]] if self.server.sent is None else self.server.sent
            self.reply(200, {"Content-Length": len(data)}, data)
        elif parts[:2] != ["anna", "portraits"]:
            self.reply(401, {"X-Error-Code": "RepoNotFound"})
        elif commit is None:
            self.reply(404, {"X-Error-Code": "RevisionNotFound"})
        elif parts[-1] != "portraitist.onnx":
            self.reply(404, {"X-Error-Code": "EntryNotFound"})
        elif self.server.is_large:
            headers = {"X-Linked-Etag": f'"{self.server.tag}"', "X-Linked-Size": len(self.server.files[commit])}
            self.reply(302, headers | {"X-Repo-Commit": commit, "Location": f"{self.server.cdn}/cdn/{commit}"})
        else:
            data = self.server.files[commit]
            self.reply(
                200, {"X-Repo-Commit": commit, "ETag": f'"{self.server.tag}"', "Content-Length": len(data)}, data
            )

    do_GET = do_HEAD

    def reply(self, status, headers=(), body=b""):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, str(value))
        if "Content-Length" not in dict(headers):
            self.send_header("Content-Length", "0")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def serving():
    server = Hub()
    server.cdn = f"http://localhost:{server.server_port}"
    with in_thread(server):
        yield server


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return tmp_path / "portraitist" / "models"


@pytest.fixture
def hub(cache, monkeypatch):
    with serving() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address + "/")
        yield server


def test_model_is_downloaded_once_and_kept_by_commit(hub, cache):
    notes = []
    path = find_model(NAME, notes.append)
    assert path == cache / "anna--portraits" / COMMIT / "portraitist.onnx"
    assert path.read_bytes() == DATA
    assert [NAME in note and "0.0 MB" in note for note in notes] == [True]
    assert find_model(NAME, notes.append) == path
    assert [method for method, _ in hub.requests] == ["HEAD", "GET", "GET", "HEAD"]  # the second GET follows a redirect
    assert len(notes) == 1
    assert {each.name for each in path.parent.iterdir()} == {"portraitist.onnx"}


def test_new_commit_of_a_branch_is_downloaded(hub):
    old = find_model(NAME)
    hub.files[LATER], hub.revisions["main"], hub.revisions[LATER] = b"retrained", LATER, LATER
    hub.tag = hashlib.sha256(b"retrained").hexdigest()
    assert find_model(NAME).read_bytes() == b"retrained"
    assert old.read_bytes() == DATA


def test_cached_commit_needs_no_request(hub):
    path = find_model(f"{NAME}@{COMMIT}")
    hub.requests.clear()
    assert find_model(f"{NAME}@{COMMIT}") == path
    assert hub.requests == []


def test_revision_with_a_slash_is_one_part_of_the_address(hub):
    assert find_model(f"{NAME}@refs/pr/1").read_bytes() == DATA
    assert hub.requests[0][1] == "/anna/portraits/resolve/refs%2Fpr%2F1/portraitist.onnx"


def test_small_file_is_verified_by_its_git_hash(hub):
    hub.is_large, hub.tag = False, git_blob(DATA)
    assert find_model(NAME).read_bytes() == DATA
    hub.files[LATER], hub.revisions["main"], hub.revisions[LATER] = b"other", LATER, LATER
    with pytest.raises(ModelError, match="damaged download"):
        find_model(NAME)


def test_renamed_repository_is_followed(hub):
    assert find_model("hf://moved/portraits").read_bytes() == DATA


@pytest.mark.parametrize("sent", [b"", DATA[:-1], DATA + b"x", DATA.upper()])
def test_damaged_download_is_rejected_and_not_kept(hub, cache, sent):
    hub.sent = sent
    with pytest.raises(ModelError, match="damaged download"):
        find_model(NAME)
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_too_large_model_is_rejected(hub, monkeypatch):
    monkeypatch.setattr(model_hub, "MAX_MODEL_MB", 0.0005)
    with pytest.raises(ModelError, match=r"at most 0\.0005"):
        find_model(NAME)
    assert [method for method, _ in hub.requests] == ["HEAD"]
    monkeypatch.setattr(model_hub, "MAX_MODEL_MB", 0.001)
    hub.sent = bytes(2000)  # more than announced
    with pytest.raises(ModelError, match=r"more than 0\.001 MB"):
        find_model(NAME)


@pytest.mark.parametrize("error", [(503, {}), (429, {}), None])
def test_cached_copy_is_used_when_the_hub_is_away(hub, error):
    path = find_model(NAME)
    hub.error = error
    if error is None:
        hub.shutdown()
        hub.socket.close()
    notes = []
    assert find_model(NAME, notes.append) == path
    assert "127.0.0.1" in notes[0]
    with pytest.raises(ModelError, match="the cache has no copy"):
        find_model(f"{NAME}@v2")


def test_offline_mode_never_connects(hub, monkeypatch):
    path = find_model(NAME)
    hub.requests.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert find_model(NAME) == path
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set"):
        find_model("hf://anna/other")
    assert hub.requests == []


@pytest.mark.parametrize(
    ("name", "message"),
    [("hf://bob/none", "no such repository"), (f"{NAME}@v9", "no such revision")],
)
def test_refusal_of_the_hub_is_explained(hub, name, message):
    with pytest.raises(ModelError, match=f"{name}: {message}"):
        find_model(name)


def test_repository_without_a_model_is_named(hub):
    hub.error = (404, {"X-Error-Code": "EntryNotFound"})
    with pytest.raises(ModelError, match=r"portraits: the repository has no portraitist\.onnx"):
        find_model(NAME)


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_redirect_to_another_scheme_is_refused(hub, target):
    hub.cdn = target
    with pytest.raises(ModelError, match="302"):
        find_model(NAME)


@pytest.mark.parametrize("commit", ["", "../../x", "A" * 40])
def test_server_that_is_no_hub_is_named(hub, commit):
    hub.error = (200, {"X-Repo-Commit": commit})
    with pytest.raises(ModelError, match="is not a Hugging Face hub"):
        find_model(NAME)


@pytest.mark.parametrize(
    "name", ["hf://", "hf://a", "hf://a/b/c", "hf://../b", "hf://a/b@", "hf://a/b@../c", "hf://a/b?x", "hf://a/..b"]
)
def test_malformed_name_is_rejected(hub, name):
    with pytest.raises(ModelError, match="not the name of a model"):
        find_model(name)
    assert hub.requests == []


def test_endpoint_must_be_a_web_address(cache, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "file:///etc")
    with pytest.raises(ModelError, match="HF_ENDPOINT is 'file:///etc'"):
        find_model(NAME)


def test_paths_are_returned_as_they_are(cache, tmp_path):
    assert find_model("models/mine.onnx").as_posix() == "models/mine.onnx"
    assert find_model(tmp_path) == tmp_path
    assert not cache.exists()
