"""Test the web server under load from regular and hostile clients.

    dvc repro export && python -m benchmarks.server_soak --seconds 600

Starts `portraitist serve`. Clients at four addresses together send one selfie per second. At the same time, clients at
five hostile addresses keep idle connections and unfinished uploads open, and send damaged pictures, malformed forms,
requests for long names, and files that are made to exhaust time and memory. All addresses are loopback addresses of
this machine (Linux only). Prints refused requests, latencies, memory (MB are 2^20 bytes) and the size of the log.
"""

import argparse
import contextlib
import http.client
import io
import itertools
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from portraitist.app import DEFAULT_MODEL

SELFIES = Path("data/sample/selfies")
HONEST = [f"127.0.1.{number}" for number in range(1, 5)]
IDLE, HALF_OPEN, BOMBS, FORMS, NAMES = (f"127.0.2.{number}" for number in range(1, 6))
BOUNDARY = "----soak"
HEADERS = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
TIMEOUT_S = 60.0
HALF_OPEN_HEAD = (
    b"POST /faces HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=----soak\r\n"
    b"Content-Length: 9999\r\n\r\n"
)
CONNECTIONS = 100  # number that each of the addresses IDLE and HALF_OPEN tries to keep open


@dataclass
class Results:
    """The answers that each kind of client got, and the seconds that regular clients waited."""

    answers: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    seconds: list[float] = field(default_factory=list)


def form(selfie: bytes, **fields: str) -> bytes:
    """Return a multipart body."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{fields[name]}\r\n' for name in fields
    ]
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="selfie"; filename="x.jpg"\r\n\r\n'
    return "".join([*parts, head]).encode() + selfie + f"\r\n--{BOUNDARY}--\r\n".encode()


def request(port: int, source: str, method: str, path: str, body: bytes | None = None, **headers: str) -> str:
    """Send a request and return the status, or the kind of error."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S, source_address=(source, 0))
    try:
        connection.request(method, path, body, headers=HEADERS | headers)
        answer = connection.getresponse()
        answer.read()
        return str(answer.status)
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()


def encoded(picture: Image.Image, format_: str, **options: bool) -> bytes:
    """Encode a picture."""
    buffer = io.BytesIO()
    picture.save(buffer, format_, **options)
    return buffer.getvalue()


def hostile_files() -> dict[str, bytes]:
    """Return small files whose naive decoding takes much time or memory."""
    jpeg = encoded(Image.new("RGB", (2000, 2000)), "JPEG", progressive=True)
    last_scan = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    wide = np.zeros((7000, 7000), np.uint16)
    wide[::7] = 40000
    selfie = next(iter(sorted(SELFIES.iterdir()))).read_bytes()
    return {
        "JPEG of 10,000 scans": jpeg[:-2] + last_scan * 10_000 + jpeg[-2:],
        "16-bit PNG, 7000 x 7000": encoded(Image.fromarray(wide), "PNG"),
        "PNG, 20,000 x 20,000": encoded(Image.new("1", (20_000, 20_000)), "PNG"),
        "truncated JPEG": selfie[: len(selfie) // 2],
        "JPEG with flipped bytes": bytes(byte ^ 255 if index % 97 == 50 else byte for index, byte in enumerate(selfie)),
        "no picture": b"\0" * 100_000,
    }


def honest_client(port: int, source: str, results: Results) -> Callable[[], None]:
    """Return a function that sends the next selfie."""
    selfies = itertools.cycle([form(path.read_bytes()) for path in sorted(SELFIES.iterdir())[:20]])

    def send() -> None:
        started = time.monotonic()
        results.answers["honest"][request(port, source, "POST", "/avatar", next(selfies))] += 1
        results.seconds.append(time.monotonic() - started)

    return send


def bomber(port: int, results: Results) -> Callable[[], None]:
    """Return a function that sends the next hostile file."""
    files = itertools.cycle(hostile_files().items())

    def send() -> None:
        name, data = next(files)
        results.answers[name][request(port, BOMBS, "POST", "/faces", form(data))] += 1

    return send


def malformed_forms(port: int, results: Results) -> Callable[[], None]:
    """Return a function that sends the next malformed form."""
    forms = itertools.cycle(
        [
            (form(b"x", face="²"), {}),
            (form(b"x", background="#x.jpg"), {}),
            (b"nonsense", {}),
            (form(b"x")[:-20], {}),
            (form(b"x", size="9" * 150), {"Content-Type": HEADERS["Content-Type"] + "; charset=undefined"}),
            (form(b"x", shape="a" * 5000), {}),
        ]
    )

    def send() -> None:
        body, headers = next(forms)
        results.answers["malformed form"][request(port, FORMS, "POST", "/avatar", body, **headers)] += 1

    return send


def long_names(port: int, results: Results) -> Callable[[], None]:
    """Return a function that requests a long name."""

    def send() -> None:
        results.answers["long name"][request(port, NAMES, "GET", f"/{'a' * 300}.js")] += 1

    return send


def holder(port: int, source: str, data: bytes, results: Results) -> Callable[[], None]:
    """Return a function that opens connections that the server has closed, and sends the same first bytes on each."""
    held: list[socket.socket] = []
    name = "half-open upload" if data else "idle connection"

    def refill() -> None:
        for connection in held.copy():
            with contextlib.suppress(BlockingIOError):
                try:
                    connection.recv(1000)
                except BlockingIOError:
                    continue
                except OSError:
                    pass
                held.remove(connection)
                connection.close()
                results.answers[name]["closed by the server"] += 1
        while len(held) < CONNECTIONS:
            try:
                connection = socket.create_connection(("127.0.0.1", port), TIMEOUT_S, (source, 0))
                connection.sendall(data)
            except OSError as error:
                results.answers[name][type(error).__name__] += 1
                return
            connection.setblocking(False)
            held.append(connection)
            results.answers[name]["opened"] += 1

    return refill


def repeat(action: Callable[[], None], every_s: float, stop: threading.Event) -> threading.Thread:
    """Start a thread that runs an action at regular intervals until `stop` is set."""

    def run() -> None:
        while not stop.is_set():
            started = time.monotonic()
            action()
            stop.wait(max(0.0, every_s - (time.monotonic() - started)))

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@contextlib.contextmanager
def server(model: Path, log: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run `portraitist serve` and yield its process and port."""
    command = [sys.executable, "-m", "portraitist", "serve", "--model", str(model), "--port", "0", *options]
    with (
        log.open("w") as stderr,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
    ):
        assert process.stdout
        found = re.search(r":(\d+)/ ", process.stdout.readline())
        if not found:
            sys.exit(f"the server did not start: {log.read_text()}")
        try:
            yield process, int(found[1])
        finally:
            process.terminate()


def resident_mb(process: subprocess.Popen[str], name: str) -> list[float]:
    """Return VmRSS or VmHWM (its peak) of the server and of each of its decoders."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    sizes = []
    for pid in (process.pid, *children):
        (kilobytes,) = re.findall(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        sizes.append(int(kilobytes) / 1024)
    return sizes


def soak(model: Path, seconds: float) -> list[str]:
    """Run all clients against a server; return the lines of a report."""
    with tempfile.TemporaryDirectory() as folder, server(model, Path(folder) / "stderr") as (process, port):
        results, stop = Results(), threading.Event()
        before_mb = resident_mb(process, "VmRSS")
        bombs = bomber(port, results)
        threads = [repeat(honest_client(port, source, results), len(HONEST), stop) for source in HONEST]
        threads += [
            repeat(bombs, 3, stop),
            repeat(malformed_forms(port, results), 3, stop),
            repeat(long_names(port, results), 1, stop),
            repeat(holder(port, IDLE, b"", results), 1, stop),
            repeat(holder(port, HALF_OPEN, HALF_OPEN_HEAD, results), 1, stop),
        ]
        time.sleep(seconds)
        stop.set()
        for thread in threads:
            thread.join()
        after_mb, peak_mb = resident_mb(process, "VmRSS"), resident_mb(process, "VmHWM")
        log = (Path(folder) / "stderr").read_bytes()
    lines = [f"{seconds:.0f} s; answers by HTTP status:", "", "| client | answers |", "|---|---|"]
    for name, counts in results.answers.items():
        lines.append(f"| {name} | {', '.join(f'{count} x {status}' for status, count in sorted(counts.items()))} |")
    quantiles = statistics.quantiles(results.seconds, n=20)
    waits = f"median {statistics.median(results.seconds):.2f}, 95 % within {quantiles[-1]:.2f}"
    lines += ["", f"seconds of an honest request: {waits}, longest {max(results.seconds):.2f}"]
    for when, sizes in (("start", before_mb), ("peak", peak_mb), ("end", after_mb)):
        lines.append(
            f"resident MB, {when}: {sum(sizes):.0f} (server and decoders: {', '.join(f'{x:.0f}' for x in sizes)})"
        )
    return [*lines, f"bytes on stderr: {len(log)}", *log.decode("utf-8", "replace").splitlines()[:5]]


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL)
    parser.add_argument("--seconds", type=float, default=600)
    arguments = parser.parse_args()
    print("\n".join(soak(arguments.model, arguments.seconds)))


if __name__ == "__main__":
    main()
