"""Compare download speed and peak memory of stage collect and of icrawler, with a server on the same machine.

    python benchmarks/collect.py --pictures 1000

The complete stage collect runs: HTTP client, checks, hash, cache, shards and manifest. Three hostile responses are
among the pictures: 300 MB with and without Content-Length, and a gzip bomb. icrawler saves the same pictures as files;
the 5 s for which it waits after the last file are not counted. Each run is a separate process. Prints a Markdown table.
"""

import argparse
import asyncio
import csv
import io
import json
import logging
import multiprocessing
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

HOSTILE = ["huge_with_length.jpg", "huge.jpg", "bomb.jpg"]
HUGE_BYTES = 300 << 20
CHUNK_BYTES = 1 << 20
RUNS = [("icrawler", 1), ("icrawler", 4), ("icrawler", 16), ("icrawler", 64), ("portraitist", 16), ("portraitist", 64)]


def jpeg(kilobytes: int) -> bytes:
    """Return a photo-like JPEG of at least this size."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (20, 16, 3), dtype=np.uint8)).resize(
        (800, 1000), Image.Resampling.BICUBIC
    )
    noisy = np.asarray(coarse, np.int16) + rng.normal(0, 9, (1000, 800, 1)).round().astype(np.int16)
    for quality in range(40, 100):
        buffer = io.BytesIO()
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=quality)
        if buffer.tell() > kilobytes * 1000:
            break
    return buffer.getvalue()


def with_number(picture: bytes, number: int) -> bytes:
    """Insert a comment into a JPEG, so that each file is different."""
    return picture[:2] + b"\xff\xfe\x00\x0a" + f"{number:08d}".encode() + picture[2:]


def serve(latency_s: float, kilobytes: int, port: "multiprocessing.Queue[int]") -> None:
    """Serve /<number>.jpg and the hostile files, each after the latency; put the server's port into a queue."""
    picture = jpeg(kilobytes)
    bomb = zlib.compress(bytes(HUGE_BYTES), 9)

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                path = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1].decode().strip("/")
                if path != "robots.txt":
                    await asyncio.sleep(latency_s)
                if path == "robots.txt":
                    writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                elif path == "bomb.jpg":
                    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n"
                    writer.write(head.encode() + bomb)
                elif path.startswith("huge"):
                    length = f"Content-Length: {HUGE_BYTES}\r\n" if path == "huge_with_length.jpg" else ""
                    writer.write(
                        f"HTTP/1.1 200 OK\r\n{length}Connection: close\r\n\r\n".encode() + picture[:CHUNK_BYTES]
                    )
                    for _ in range(HUGE_BYTES // CHUNK_BYTES):
                        writer.write(bytes(CHUNK_BYTES))
                        await writer.drain()
                    return
                else:
                    body = with_number(picture, int(path.split(".")[0]))
                    writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def run() -> None:
        server = await asyncio.start_server(respond, "127.0.0.1", 0, backlog=512)
        port.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def run_collect(port: int, names: list[str], connections: int) -> dict[str, float]:
    """Run stage collect with source `urls` in the working directory."""
    from pipeline.collect import main
    from portraitist.collect.http import HttpClient
    from portraitist.collect.params import CollectParams, FetchParams
    from portraitist.core import manifest

    Path("lists").mkdir()
    with Path("lists/list.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["url", "kind"], *([f"http://site.example/{name}", "portraits"] for name in names)])
    fetch = FetchParams(
        contact="me@example.org",
        seconds_per_host=0,
        respect_robots=True,
        max_mb=20,
        deadline_s=60,
        connections=connections,
    )
    addresses = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
    began = time.monotonic()
    with HttpClient(fetch, allow={("127.0.0.1", port)}, resolve=lambda *_, **__: addresses) as web:
        main("urls", CollectParams(path=Path("lists"), limit=len(names), shard_size=1000), web, Path("out"))
    seconds = time.monotonic() - began
    statuses = Counter(manifest.read(Path("out/manifest.csv"))["status"])
    return {"seconds": seconds, "kept": statuses["kept"], "refused": statuses.total() - statuses["kept"]}


def run_icrawler(port: int, names: list[str], threads: int) -> dict[str, float]:
    """Run icrawler's downloader on the same URLs."""
    from icrawler.builtin import UrlListCrawler

    crawler = UrlListCrawler(downloader_threads=threads, storage={"root_dir": "out"}, log_level=logging.CRITICAL)
    crawler.session.trust_env = False
    Path("list.txt").write_text("\n".join(f"http://127.0.0.1:{port}/{name}" for name in names), encoding="utf-8")
    began = time.time()
    crawler.crawl("list.txt")
    saved = list(Path("out").iterdir())
    return {"seconds": max(path.stat().st_mtime for path in saved) - began, "kept": len(saved), "refused": 0}


def measure(program: str, port: int, names: list[str], connections: int) -> dict[str, float]:
    """Run a program in a new process and folder; return its rate, CPU time and peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(Path(__file__).resolve()), "--run", program, str(port), str(connections)]
        process = subprocess.run(
            command, cwd=folder, input=json.dumps(names), capture_output=True, text=True, check=False, env=os.environ
        )
        if process.returncode:
            sys.exit(process.stderr)
        return json.loads(process.stdout.splitlines()[-1])


def run_in_child(program: str, port: int, connections: int) -> None:
    """Run one program and print its measurements; started by `measure`."""
    result = (run_collect if program == "portraitist" else run_icrawler)(port, json.load(sys.stdin), connections)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps(result | {"mib": usage.ru_maxrss / 1024, "cpu_s": usage.ru_utime + usage.ru_stime}))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--kilobytes", type=int, default=200)
    parser.add_argument("--latencies-ms", type=int, nargs="+", default=[0, 300])
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        run_in_child(args.run[0], int(args.run[1]), int(args.run[2]))
        return
    print("| latency | program | connections | pictures | refused | pictures/s | CPU ms each | peak MiB |")
    print("|---|---|---|---|---|---|---|---|")
    for latency_ms in args.latencies_ms:
        queue: multiprocessing.Queue[int] = multiprocessing.Queue()
        server = multiprocessing.Process(target=serve, args=(latency_ms / 1000, args.kilobytes, queue), daemon=True)
        server.start()
        port = queue.get()
        for program, connections in RUNS:
            count = (
                args.pictures if program == "portraitist" or connections > 1 or not latency_ms else args.pictures // 5
            )
            names = [f"{number}.jpg" for number in range(count)]
            if program == "portraitist":
                names[count // 2 : count // 2] = HOSTILE
            run = measure(program, port, names, connections)
            rate, cpu_ms = run["kept"] / run["seconds"], run["cpu_s"] * 1000 / run["kept"]
            cells = (
                *(f"{latency_ms} ms", program, connections, f"{run['kept']:.0f} of {count}", f"{run['refused']:.0f}"),
                *(f"{rate:.0f}", f"{cpu_ms:.1f}", f"{run['mib']:.0f}"),
            )
            print("|", " | ".join(map(str, cells)), "|", flush=True)
        server.terminate()
        server.join()


if __name__ == "__main__":
    main()
