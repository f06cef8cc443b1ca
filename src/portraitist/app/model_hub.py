"""Find a model: a folder, a file, or `hf://user/name[@revision]`, which is downloaded from the Hugging Face hub.

Downloads are stored in the user's cache folder, one folder per commit. A branch is looked up on the hub every time; if
the hub cannot be reached, the commit of the last download is used. As in huggingface_hub, the environment variable
`HF_ENDPOINT` is the address of a mirror, and `HF_HUB_OFFLINE=1` forbids connections.
"""

import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urljoin, urlsplit

from portraitist.app.model_file import MODEL_FILE, ModelError
from portraitist.core.files import write_file

SCHEME = "hf://"
NAME = re.compile(
    r"hf://([A-Za-z0-9][\w.-]{0,95})/([A-Za-z0-9][\w.-]{0,95})(?:@([A-Za-z0-9][\w./-]{0,199}))?", re.ASCII
)
DEFAULT_REVISION = "main"
DEFAULT_ENDPOINT = "https://huggingface.co"
MAX_MODEL_MB = 200.0  # in units of 10**6 bytes; profile `full` exports 45 MB
TIMEOUT_S = 20.0  # limit for connecting, and for waiting for data
MAX_REDIRECTS = 3  # redirects within the hub, for renamed repositories
COMMIT = re.compile(r"[0-9a-f]{40}")
SHA256, GIT_BLOB = (
    re.compile(r"[0-9a-f]{64}"),
    re.compile(r"[0-9a-f]{40}"),
)  # forms of the hub's entity tags: SHA-256 of a large file, git's SHA-1 of a small file
REASONS = {  # error messages by the hub's header X-Error-Code
    "RepoNotFound": "no such repository, or a private one",
    "GatedRepo": "the repository is gated: accept its terms, download it with `hf download`, and pass the folder",
    "RevisionNotFound": "no such revision",
    "EntryNotFound": f"the repository has no {MODEL_FILE}",
}
Notify = Callable[[str], None]


class _Remote(NamedTuple):
    """A file on the hub.

    Attributes:
        commit: id of the commit that contains the file.
        size: size in bytes, or None if the hub does not state it.
        tag: the HTTP entity tag, usually a hash of the file; may be empty.
    """

    commit: str
    size: int | None
    tag: str


class _OfflineError(Exception):
    """The hub cannot be reached; the message gives the reason."""


def find_model(model: Path | str, notify: Notify = lambda message: None) -> Path:
    """Return the path of a model; a model `hf://user/name[@revision]` is downloaded unless it is in the cache.

    Args:
        model: a path, or the name of a repository on the Hugging Face hub. The revision is a branch, a tag or a commit.
        notify: called with a line of text before a download, and if a cached copy is used because the hub cannot be
            reached.

    Raises:
        ModelError: the name is malformed, or the file does not exist, is too large, or cannot be downloaded.
        OSError: the cache folder cannot be written.
    """
    name = str(model)
    if not name.startswith(SCHEME):
        return Path(model)
    match = NAME.fullmatch(name)
    if not match or ".." in name:
        raise ModelError(
            f"{name}: not the name of a model on the hub; expected {SCHEME}USER/NAME or {SCHEME}USER/NAME@REVISION"
        )
    user, repository, revision = match[1], match[2], match[3] or DEFAULT_REVISION
    folder = cache_folder() / f"{user}--{repository}"
    file = f"{_endpoint()}/{user}/{repository}/resolve/{{}}/{MODEL_FILE}"
    reference = folder / "refs" / quote(revision, safe="")
    if COMMIT.fullmatch(revision) and (cached := folder / revision / MODEL_FILE).is_file():
        return cached  # the content of a commit never changes
    try:
        remote = _look_up(name, file.format(quote(revision, safe="")))
        cached = folder / remote.commit / MODEL_FILE
        if not cached.is_file():
            size = f" ({remote.size / 1e6:.1f} MB)" if remote.size else ""
            notify(f"downloading {name}{size} to {cached}")
            _save(cached, _download(name, file.format(remote.commit), remote))
    except _OfflineError as error:
        commit = reference.read_text("ascii").strip() if reference.is_file() else ""
        cached = folder / commit / MODEL_FILE
        if not COMMIT.fullmatch(commit) or not cached.is_file():
            raise ModelError(f"{name}: {error}, and the cache has no copy of this model") from error
        notify(f"{name}: {error}; using the copy of commit {commit[:8]} in the cache")
        return cached
    _save(reference, remote.commit.encode("ascii"))
    return cached


def cache_folder() -> Path:
    """Return the folder of downloaded models, in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "portraitist" / "models"


def _endpoint() -> str:
    endpoint = os.environ.get("HF_ENDPOINT", DEFAULT_ENDPOINT).rstrip("/")
    if urlsplit(endpoint).scheme not in ("http", "https"):
        raise ModelError(f"HF_ENDPOINT is {endpoint!r}; expected a URL such as {DEFAULT_ENDPOINT}")
    return endpoint


def _look_up(name: str, url: str) -> _Remote:
    """Request commit, size and hash of a file from the hub.

    For large files, the hub sends a redirect to another host. The headers of this redirect contain the three values.
    """
    headers: dict[str, str] = {}
    for _ in range(MAX_REDIRECTS + 1):
        with _open(name, urllib.request.Request(url, method="HEAD")) as response:
            headers |= {key.lower(): value for key, value in response.headers.items()}
            target = urljoin(url, response.headers.get("Location") or url)
        if target == url or urlsplit(target).netloc != urlsplit(url).netloc:
            break
        url = target
    commit = headers.get("x-repo-commit", "")
    if not COMMIT.fullmatch(commit):
        raise ModelError(
            f"{name}: {_endpoint()} is not a Hugging Face hub: its header X-Repo-Commit is {commit[:50]!r}"
        )
    size = _number(headers, "x-linked-size") or _number(headers, "content-length")
    if size and size > MAX_MODEL_MB * 1e6:
        raise ModelError(f"{name}: {MODEL_FILE} has {size / 1e6:.0f} MB; at most {MAX_MODEL_MB:g} are allowed")
    tag = headers.get("x-linked-etag") or headers.get("etag", "")
    return _Remote(commit, size, tag.removeprefix("W/").strip('"'))


def _number(headers: Mapping[str, str], key: str) -> int | None:
    value = headers.get(key, "")
    return int(value) if value.isascii() and value.isdigit() else None


def _download(name: str, url: str, remote: _Remote) -> bytes:
    limit = round(MAX_MODEL_MB * 1e6)
    with _open(name, urllib.request.Request(url)) as response:
        try:
            data = response.read(limit + 1)
        except (OSError, http.client.HTTPException) as error:
            raise ModelError(f"{name}: the download was interrupted: {error}") from error
    if len(data) > limit:
        raise ModelError(f"{name}: {MODEL_FILE} has more than {MAX_MODEL_MB:g} MB")
    found = ""
    if SHA256.fullmatch(remote.tag):
        found = hashlib.sha256(data).hexdigest()
    elif GIT_BLOB.fullmatch(remote.tag):
        found = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    if found and found != remote.tag:
        raise ModelError(f"{name}: damaged download: the hash is {found[:16]}…, expected {remote.tag[:16]}…; try again")
    return data


def _save(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, data)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects of downloads to http and https addresses, but never from https to http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        schemes = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if req.get_method() == "HEAD" or schemes[1] not in ("http", "https") or schemes == ("https", "http"):
            return None
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(name: str, request: urllib.request.Request) -> Any:
    """Send a request and return the response; redirects are followed for GET only.

    Raises:
        ModelError: the hub refuses the request.
        _OfflineError: the hub cannot be reached.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        raise _OfflineError("HF_HUB_OFFLINE is set")
    request.add_header("User-Agent", "portraitist")
    try:
        return urllib.request.build_opener(_Redirects).open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if request.get_method() == "HEAD" and 300 <= error.code < 400:
            return error
        with error:
            code = error.headers.get("X-Error-Code", "")
        if error.code >= 500 or error.code == 429:
            raise _OfflineError(f"{urlsplit(request.full_url).netloc} answers {error.code} {error.reason}") from error
        raise ModelError(f"{name}: {REASONS.get(code, f'{request.full_url}: {error.code} {error.reason}')}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        reason = getattr(reason, "strerror", None) or reason or type(error).__name__
        raise _OfflineError(f"cannot reach {urlsplit(request.full_url).netloc}: {reason}") from error
