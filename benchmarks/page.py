"""Measure the static web page in Chromium: CPU time of each step, time for a phone's photo, speed of the live camera.

    python -m benchmarks.page --runtime onnxruntime-web-1.30.0.tgz

CPU time is that of the page's worker threads (Linux only), which other processes hardly change. Without --threads, the
page's service worker, which allows several threads, is blocked. Needs Chromium and Playwright.
"""

import argparse
import functools
import http.server
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from portraitist.app import DEFAULT_MODEL
from portraitist.app.site_builder import build_site

SELFIE = Path("docs/astronaut.jpg")
PHONE, CAMERA, FPS = (3024, 4032), (640, 480), 30
# Adds a time to `paintings` when photos are chosen, and when the page's status says that the avatar is ready.
STOPWATCH = """addEventListener("DOMContentLoaded", () => {
    window.paintings = [];
    document.getElementById("selfie")?.addEventListener("change", () => paintings.push(performance.now()), true);
    const status = document.getElementById("status");
    const addEnd = () => { if (status.textContent.endsWith("ready.")) paintings.push(performance.now()); };
    if (status) new MutationObserver(addEnd).observe(status, { childList: true, characterData: true, subtree: true });
})"""
ROUNDS, LIVE_S, TIMEOUT_S = 5, 12.0, 120.0
RELOAD_S = 3.0  # until the page has installed its service worker, and is reloaded
CHOOSE_S = 10.0  # until a visitor has chosen a photo; meanwhile, the page paints an example
WORKER_THREAD = "DedicatedWorker"  # of Chromium: the page's worker, and those of onnxruntime-web
WEBGPU = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan")


def threads_cpu_s() -> float:
    """Return the CPU time of all worker threads of the browsers that this process started."""
    seconds = 0.0
    for process in _descendants(os.getpid()):
        for task in Path(f"/proc/{process}/task").glob("*"):
            try:
                if (task / "comm").read_text().startswith(WORKER_THREAD):
                    seconds += int((task / "schedstat").read_text().split()[0]) / 1e9
            except OSError:  # the thread has ended
                continue
    return seconds


def _descendants(process: int) -> Iterator[int]:
    for task in Path(f"/proc/{process}/task").glob("*"):
        try:
            children = (task / "children").read_text().split()
        except OSError:
            continue
        for child in map(int, children):
            yield child
            yield from _descendants(child)


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve a folder on 127.0.0.1 and yield its address."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


def write_pictures(folder: Path) -> None:
    """Write a phone's photo with a face as a JPEG, and a moving face as the file of a camera (y4m)."""
    with Image.open(SELFIE) as opened:
        selfie = opened.convert("RGB")
    photo = np.full((PHONE[1], PHONE[0], 3), 120, np.int16)
    photo[400 : 400 + PHONE[0]] = np.array(selfie.resize((PHONE[0], PHONE[0])), np.int16)
    photo += np.random.default_rng(1).integers(-5, 6, photo.shape, np.int16)  # sensor noise: a realistic size
    Image.fromarray(photo.clip(0, 255).astype(np.uint8)).save(folder / "phone.jpg", quality=92)
    picture, (width, height) = np.array(selfie), CAMERA
    with (folder / "camera.y4m").open("wb") as file:
        file.write(f"YUV4MPEG2 W{width} H{height} F{FPS}:1 Ip A1:1 C420jpeg\n".encode())
        for number in range(3 * FPS):
            left = (width - height) / 2 + 60 * np.sin(2 * np.pi * number / (3 * FPS))
            transform = np.array([[height / picture.shape[0], 0, left], [0, height / picture.shape[0], 0]], np.float32)
            frame = cv2.warpAffine(picture, transform, CAMERA, borderMode=cv2.BORDER_REPLICATE)
            file.write(b"FRAME\n" + cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420).tobytes())


def wait_until(page: Any, condition: Callable[[], bool]) -> None:
    """Wait without evaluating scripts in the page, which its Content-Security-Policy forbids."""
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(page.inner_text("#error") or page.inner_text("#status"))
        page.wait_for_timeout(10)


def wait_for_text(page: Any, text: str) -> None:
    """Wait for the page's status."""
    wait_until(page, lambda: page.inner_text("#status") == text)


def measure_parts(page: Any) -> None:
    """Print the CPU milliseconds of each part: the median of some rounds after one warm-up."""
    page.evaluate("""async () => {
        const worker = new Worker("page_parts.js", { type: "module" });
        let count = 0;
        const waiting = new Map();
        worker.onmessage = ({ data }) => waiting.get(data.id)(data);
        worker.onerror = (event) => waiting.get(count)({ error: event.message });
        window.call = (message) => new Promise((resolve) => {
            waiting.set(++count, resolve);
            worker.postMessage({ id: count, ...message });
        });
        const file = await (await fetch("phone.jpg")).blob();
        const result = await call({ part: "open", values: { file } });
        if (result.error) throw new Error(result.error);
        window.parts = result.parts;
    }""")
    for part in page.evaluate("parts"):
        milliseconds = []
        for _ in range(ROUNDS + 1):
            before = threads_cpu_s()
            result = page.evaluate("part => call({ part, rounds: 1 })", part)
            if "error" in result:
                raise RuntimeError(f"{part}: {result['error']}")
            milliseconds.append(1000 * (threads_cpu_s() - before))
        print(f"| {part} | {statistics.median(milliseconds[1:]):.0f} |", flush=True)


def measure_photo(page: Any, photo: Path) -> None:
    """Print the time from the choice of a phone's photo to the avatar on the page, of the first and of later photos."""
    wall_s, cpu_s = [], []
    time.sleep(CHOOSE_S)
    for number in range(ROUNDS + 1):
        before = threads_cpu_s()
        page.set_input_files("#selfie", photo)
        text = "Your avatar is ready." if not number else f"{number + 1} avatars are ready."
        wait_for_text(page, text)
        cpu_s.append(threads_cpu_s() - before)
        times = page.evaluate("paintings.splice(0)")
        wall_s.append((times[-1] - times[0]) / 1000)
    print(f"| phone's photo to avatar, first | {1000 * cpu_s[0]:.0f} ({wall_s[0]:.2f} s) |")
    print(f"| warm | {1000 * statistics.median(cpu_s[1:]):.0f} ({statistics.median(wall_s[1:]):.2f} s) |", flush=True)


def measure_live(page: Any) -> None:
    """Print frames per second of the live camera and the CPU milliseconds of each."""
    page.click("#live")
    count = "Number(document.getElementById('painted-video').dataset.frames ?? 0)"
    wait_until(page, lambda: page.evaluate(count) >= 30)
    frames, before, start = page.evaluate(count), threads_cpu_s(), time.perf_counter()
    time.sleep(LIVE_S)
    frames = page.evaluate(count) - frames
    cpu_s, wall_s = threads_cpu_s() - before, time.perf_counter() - start
    side = page.evaluate("document.getElementById('painted-video').width")
    text = page.inner_text("#frame-rate")
    print(
        f"| live, {side} px | {1000 * cpu_s / frames:.0f} ({frames / wall_s:.1f} frames/s; page: {text}) |", flush=True
    )


def main() -> None:
    """Print a table of CPU milliseconds."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser()
    parser.add_argument("--runtime", type=Path, help="the .tgz of onnxruntime-web; by default npm downloads it")
    parser.add_argument("--threads", action="store_true", help="several threads for photo and live")
    parser.add_argument("--only", default="parts,photo,live", help="measurements to run, separated by commas")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        build_site(Path(DEFAULT_MODEL), folder, args.runtime)
        shutil.copy(Path(__file__).with_name("page_parts.js"), folder)
        write_pictures(folder)
        (folder / "empty.html").write_text("<!DOCTYPE html><title>parts</title>")
        arguments = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        arguments += ["--disable-gpu", f"--use-file-for-fake-video-capture={folder / 'camera.y4m'}"]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        service_workers = "allow" if args.threads else "block"
        page = browser.new_page(viewport={"width": 390, "height": 844}, service_workers=service_workers)
        page.add_init_script(STOPWATCH)
        print(f"load {os.getloadavg()[0]:.1f}\n\n| | CPU milliseconds |\n|---|---|")
        with serve(folder) as address:
            if args.threads:
                page.goto(f"{address}index.html")
                page.wait_for_timeout(1000 * RELOAD_S)  # a call of `evaluate` would look like a visitor's action
                if not page.evaluate("self.crossOriginIsolated"):
                    raise RuntimeError(f"the page uses one thread, {RELOAD_S:g} s after it was opened")
            if "parts" in args.only:
                page.goto(f"{address}empty.html")
                measure_parts(page)
            for only, measure in (
                ("photo", lambda: measure_photo(page, folder / "phone.jpg")),
                ("live", lambda: measure_live(page)),
            ):
                if only in args.only:
                    page.goto(f"{address}index.html")
                    wait_for_text(page, "")
                    measure()
        browser.close()


if __name__ == "__main__":
    main()
