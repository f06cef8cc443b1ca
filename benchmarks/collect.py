"""Collecting against a server on loopback: pictures a second and peak memory, ours and icrawler's own downloader.

    python benchmarks/collect.py --pictures 1000

Ours is the whole stage (fetch, check, hash, spool, shards, manifest), and three hostile answers are among its pictures:
300 MB with and without a Content-Length, and a gzip bomb. icrawler saves the same pictures as files; its time ends with
its last file, not with the 5 s that it then waits. Each run is a process of its own. Prints a Markdown table.
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

HOSTILE = ["huge_told.jpg", "huge.jpg", "bomb.jpg"]
HUGE = 300 << 20
PIECE = 1 << 20
RUNS = [("icrawler", 1), ("icrawler", 4), ("icrawler", 16), ("icrawler", 64), ("ours", 16), ("ours", 64)]


def jpeg(kilobytes: int) -> bytes:
    """A photo-like JPEG of about this size."""
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


def numbered(picture: bytes, number: int) -> bytes:
    """The picture with a comment that makes it another file."""
    return picture[:2] + b"\xff\xfe\x00\x0a" + f"{number:08d}".encode() + picture[2:]


def serve(latency_s: float, kilobytes: int, port: "multiprocessing.Queue[int]") -> None:
    """The server, for ever: /0.jpg and so on after a while, and the hostile ones."""
    picture = jpeg(kilobytes)
    bomb = zlib.compress(bytes(HUGE), 9)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
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
                    told = f"Content-Length: {HUGE}\r\n" if path == "huge_told.jpg" else ""
                    writer.write(f"HTTP/1.1 200 OK\r\n{told}Connection: close\r\n\r\n".encode() + picture[:PIECE])
                    for _ in range(HUGE // PIECE):
                        writer.write(bytes(PIECE))
                        await writer.drain()
                    return
                else:
                    body = numbered(picture, int(path.split(".")[0]))
                    writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def run() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=512)
        port.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def ours(port: int, names: list[str], connections: int) -> dict[str, float]:
    """Stage collect by its source of addresses, in this folder."""
    from pipeline.collect import main
    from portraitist.collect.http import HttpClient
    from portraitist.collect.params import CollectParams, FetchParams
    from portraitist.core import manifest

    Path("lists").mkdir()
    with Path("lists/list.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["url", "kind"], *([f"http://site.example/{name}", "portraits"] for name in names)])
    fetching = FetchParams(
        contact="me@example.org",
        seconds_per_host=0,
        respect_robots=True,
        max_mb=20,
        deadline_s=60,
        connections=connections,
    )
    here = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
    began = time.monotonic()
    with HttpClient(fetching, allow={("127.0.0.1", port)}, resolve=lambda *_, **__: here) as web:
        main("urls", CollectParams(path=Path("lists"), limit=len(names), shard_size=1000), web, Path("out"))
    seconds = time.monotonic() - began
    met = Counter(manifest.read(Path("out/manifest.csv"))["status"])
    return {"seconds": seconds, "kept": met["kept"], "refused": met.total() - met["kept"]}


def icrawlers(port: int, names: list[str], threads: int) -> dict[str, float]:
    """Icrawler's downloader on the same addresses."""
    from icrawler.builtin import UrlListCrawler

    crawler = UrlListCrawler(downloader_threads=threads, storage={"root_dir": "out"}, log_level=logging.CRITICAL)
    crawler.session.trust_env = False
    Path("list.txt").write_text("\n".join(f"http://127.0.0.1:{port}/{name}" for name in names), encoding="utf-8")
    began = time.time()
    crawler.crawl("list.txt")
    saved = list(Path("out").iterdir())
    return {"seconds": max(path.stat().st_mtime for path in saved) - began, "kept": len(saved), "refused": 0}


def measured(who: str, port: int, names: list[str], connections: int) -> dict[str, float]:
    """One run in a process and a folder of its own, with its CPU time and its peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(Path(__file__).resolve()), "--run", who, str(port), str(connections)]
        ran = subprocess.run(
            command, cwd=folder, input=json.dumps(names), capture_output=True, text=True, check=False, env=os.environ
        )
        if ran.returncode:
            sys.exit(ran.stderr)
        return json.loads(ran.stdout.splitlines()[-1])


def one_run(who: str, port: int, connections: int) -> None:
    """What `measured` starts."""
    told = (ours if who == "ours" else icrawlers)(port, json.load(sys.stdin), connections)
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps(told | {"mib": used.ru_maxrss / 1024, "cpu_s": used.ru_utime + used.ru_stime}))


def main() -> None:
    """Every run of the table."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--pictures", type=int, default=1000)
    words.add_argument("--kilobytes", type=int, default=200)
    words.add_argument("--latencies-ms", type=int, nargs="+", default=[0, 300])
    words.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    told = words.parse_args()
    if told.run:
        one_run(told.run[0], int(told.run[1]), int(told.run[2]))
        return
    print("| latency | who | connections | pictures | refused | a second | CPU ms each | peak MiB |")
    print("|---|---|---|---|---|---|---|---|")
    for latency_ms in told.latencies_ms:
        queue: multiprocessing.Queue[int] = multiprocessing.Queue()
        server = multiprocessing.Process(target=serve, args=(latency_ms / 1000, told.kilobytes, queue), daemon=True)
        server.start()
        port = queue.get()
        for who, connections in RUNS:
            count = told.pictures if who == "ours" or connections > 1 or not latency_ms else told.pictures // 5
            names = [f"{number}.jpg" for number in range(count)]
            if who == "ours":
                names[count // 2 : count // 2] = HOSTILE
            run = measured(who, port, names, connections)
            speed, each_ms = run["kept"] / run["seconds"], run["cpu_s"] * 1000 / run["kept"]
            cells = (
                *(f"{latency_ms} ms", who, connections, f"{run['kept']:.0f} of {count}", f"{run['refused']:.0f}"),
                *(f"{speed:.0f}", f"{each_ms:.1f}", f"{run['mib']:.0f}"),
            )
            print("|", " | ".join(map(str, cells)), "|", flush=True)
        server.terminate()
        server.join()


if __name__ == "__main__":
    main()
