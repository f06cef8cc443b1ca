"""Test the web server with two worker processes under load.

    python -m benchmarks.server_workers --requests 500 --threads 20

Starts `portraitist serve --workers 2` four times. Prints lost requests and memory, losses by SIGTERM, and
the effect of unfinished uploads. All addresses are loopback addresses of this machine (Linux only). MB are 2^20 bytes.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.server_soak import (
    CONNECTIONS,
    HALF_OPEN,
    HALF_OPEN_HEAD,
    SELFIES,
    Results,
    form,
    holder,
    repeat,
    request,
    server,
)
from portraitist.app import DEFAULT_MODEL

OPTIONS = ("--workers", "2", "--per-minute", "100000", "--shutdown-s", "120")


def tree_mb(process: subprocess.Popen[str]) -> float:
    """Return the resident memory of a process and all its descendants, in MB."""
    pids, kilobytes = [process.pid], 0
    for pid in pids:
        try:
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                pids += map(int, children.read_text().split())
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        kilobytes += int(status.partition("VmRSS:")[2].split()[0]) if "VmRSS:" in status else 0
    return kilobytes / 1024


def wait_until_ready(port: int) -> None:
    """Wait until a worker accepts requests."""
    while request(port, "127.0.0.1", "GET", "/readyz") != "200":
        time.sleep(0.2)


def load(port: int, count: int, threads: int, after: threading.Event | None = None) -> tuple[Counter[str], list[float]]:
    """Send requests from `threads` clients, return answers and seconds; set `after` when half are answered."""
    bodies = [form(path.read_bytes()) for path in sorted(SELFIES.iterdir())[:20]]
    seconds: list[float] = []

    def send(number: int) -> str:
        started = time.monotonic()
        answer = request(port, "127.0.0.1", "POST", "/avatar", bodies[number % len(bodies)])
        seconds.append(time.monotonic() - started)
        if after and len(seconds) >= count // 2:
            after.set()
        return answer

    with ThreadPoolExecutor(threads) as pool:
        return Counter(pool.map(send, range(count))), seconds


def summary(answers: Counter[str], seconds: list[float]) -> str:
    """Return answers by HTTP status or kind of error, and how long they took."""
    return f"{dict(answers)}; seconds: median {statistics.median(seconds):.1f}, longest {max(seconds):.1f}"


def steady(model: Path, log: Path, count: int, threads: int) -> list[str]:
    """Send all requests; report answers, seconds and memory."""
    with server(model, log, *OPTIONS) as (process, port):
        wait_until_ready(port)
        sizes: list[float] = []
        answers, seconds = Counter[str](), list[float]()
        for _ in range(5):
            part, times = load(port, count // 5, threads)
            answers, seconds = answers + part, seconds + times
            sizes.append(tree_mb(process))
    return [
        f"{count} requests, {threads} at a time: {summary(answers, seconds)}",
        f"  resident MB of all processes after each fifth: {', '.join(f'{size:.0f}' for size in sizes)}",
    ]


def terminated(model: Path, log: Path, count: int, threads: int) -> list[str]:
    """Send SIGTERM when half of the requests are answered; report all answers.

    A client counts as refused if it could not connect any more, which happens after the server has ended.
    """
    with server(model, log, *OPTIONS) as (process, port), ThreadPoolExecutor(1) as pool:
        wait_until_ready(port)
        half = threading.Event()
        running = pool.submit(load, port, count, threads, half)
        half.wait()
        started = time.monotonic()
        process.terminate()
        code = process.wait()
        seconds = time.monotonic() - started
        answers, _ = running.result()
    return [f"SIGTERM after {count // 2} answers: {dict(answers)}; ended after {seconds:.1f} s with code {code}"]


def half_open(model: Path, log: Path, count: int, threads: int) -> list[str]:
    """Hold half-open uploads from another address; report the answers of honest clients, without and with them.

    The server closes an upload after some seconds without data; each second, the closed ones are opened again.
    """
    lines: list[str] = []
    for name in ("no half-open upload", f"{CONNECTIONS} half-open uploads"):
        with server(model, log, *OPTIONS) as (_, port):
            wait_until_ready(port)
            results, stop = Results(), threading.Event()
            hold = holder(port, HALF_OPEN, HALF_OPEN_HEAD, results)
            if lines:
                hold()
                holding = repeat(hold, 1, stop)
            answers, seconds = load(port, count, threads)
            if lines:
                stop.set()
                holding.join()
        held = f"; uploads: {dict(results.answers['half-open upload'])}" if lines else ""
        lines.append(f"{name}, {count} requests, {threads} at a time: {summary(answers, seconds)}{held}")
    return lines


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--threads", type=int, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "stderr"
        for scenario, part in ((half_open, 10), (terminated, 5), (steady, 1)):
            count = arguments.requests // part
            print(f"load average {os.getloadavg()[0]:.1f}")
            print("\n".join(scenario(arguments.model, log, count, arguments.threads)), flush=True)
            if log.read_text():
                sys.exit(f"the server printed: {log.read_text()[:500]}")


if __name__ == "__main__":
    main()
