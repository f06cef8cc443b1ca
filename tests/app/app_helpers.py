"""Helpers for tests of the product: a server in a thread, HTTP requests, clips, and altered model files."""

import base64
import functools
import hashlib
import http.client
import http.server
import io
import json
import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from fractions import Fraction

import av
import numpy as np
import onnx
import uvicorn
from onnx import TensorProto, helper
from PIL import Image
from server_thread import in_thread

from portraitist.app import server as app_server
from portraitist.app.connections import ConnectionPool
from portraitist.app.model_file import CHECKSUM_KEY, EXAMPLE_GENERATOR

MEDIA_TYPES = {
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
    ".html": "text/html",
    ".js": "application/javascript",
    ".css": "text/css",
    "": "application/octet-stream",
}


@contextmanager
def serving(portraitist, workers=1, pool=None, proxies="127.0.0.1", access_log=False, **limits):
    """Run the server in a thread and yield its port on 127.0.0.1."""
    limits = app_server.Limits(**({"per_minute": 10_000, "memory_mb": 16_384} | limits))
    asgi = app_server.create_app(portraitist, workers, limits, ["127.0.0.1", "[::1]"], access_log=access_log)
    options = app_server.uvicorn_options(proxies) | {"http": (pool or ConnectionPool(proxies)).protocol()}
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(asgi, **options))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@contextmanager
def web_server(folder):
    """Serve a site with the media types of nginx's default configuration: none for .mjs. Yield the site's address."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        extensions_map = MEDIA_TYPES

        def log_message(self, *_):
            pass

    files = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder.parent)))
    with in_thread(files):
        yield f"http://127.0.0.1:{files.server_port}/{folder.name}/"


@contextmanager
def serve_process(model, *options, prefix="", **settings):
    """Run `portraitist serve` in a process; yield it and its port. `prefix` is a shell command to run first."""
    arguments = ["serve", "--model", str(model), "--port", "0", *options]
    code = f"import sys; sys.argv[1:] = {arguments!r}; from portraitist.cli import main; main()"
    command = ["bash", "-c", f'{prefix or ":"}; exec "$@"', "bash", sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **settings) as process:
        try:
            yield process, int(re.search(r":(\d+)/ ", process.stdout.readline())[1])
        finally:
            process.kill()


def form(**parts):
    """Return a multipart body and its content type; bytes are files."""
    boundary = "----edge"
    body = b""
    for name, value in parts.items():
        filename = f'; filename="{name}.jpg"' if isinstance(value, bytes) else ""
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{filename}\r\n\r\n'.encode()
        body += (value if isinstance(value, bytes) else str(value).encode()) + b"\r\n"
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def request(port, method, path, body=None, content_type=None, source="", **headers):
    """Send a request and return status, headers and body of the response; `source` is the client's address."""
    address = (source, 0) if source else None
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300, source_address=address)
    try:
        connection.request(method, path, body, ({"Content-Type": content_type} if content_type else {}) | headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def post(port, path, **parts):
    return request(port, "POST", path, *form(**parts))


def half_open_upload(port, source=""):
    """Open a connection and send the head of an upload without its body; return the open socket."""
    connection = socket.create_connection(("127.0.0.1", port), 20, (source, 0) if source else None)
    content_type = form(selfie=b"x")[1]
    head = f"POST /faces HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\nContent-Length: 9999\r\n\r\n"
    connection.sendall(head.encode())
    return connection


def error_of(answer):
    """Return status and message of an error, which must be one line without internal details."""
    status, _, body = answer
    (message,) = json.loads(body).values()
    assert "\n" not in message
    assert "Traceback" not in message
    return status, message


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timeout"
        time.sleep(0.02)


def encode(picture, form, **options):
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def with_metadata(model, path, **changes):
    """Save the model with changed metadata entries; None removes one. An outdated checksum is removed as well."""
    graph = onnx.load(model / "portraitist.onnx")
    entries = {entry.key: entry.value for entry in graph.metadata_props} | {CHECKSUM_KEY: None} | changes
    del graph.metadata_props[:]
    for key, value in entries.items():
        if value is not None:
            graph.metadata_props.add(key=key, value=value)
    onnx.save(graph, path)
    return path


def with_checksum(model, path):
    """Save the model with a checksum, as the export stage does."""
    graph = onnx.load(with_metadata(model, path))
    digest = hashlib.sha256(graph.SerializeToString(deterministic=True)).hexdigest()
    graph.metadata_props.add(key=CHECKSUM_KEY, value=digest)
    path.write_bytes(graph.SerializeToString(deterministic=True))
    return path


def parts_of(model):
    """Return the metadata entry `parts` of a model: base64 by file name."""
    entries = {entry.key: entry.value for entry in onnx.load(model / "portraitist.onnx").metadata_props}
    return json.loads(entries["parts"])


def with_example_generator(model, path, graph):
    """Save the model with another generator for examples, the bytes `graph`; None removes it from the model."""
    parts = parts_of(model)
    parts.pop(EXAMPLE_GENERATOR, None)
    if graph is not None:
        parts[EXAMPLE_GENERATOR] = base64.b64encode(graph).decode("ascii")
    return with_metadata(model, path, parts=json.dumps(parts))


def inverting_graph(model, path, painted_shape=("n", "h", "w", 3)):
    """Save the model with a graph that inverts the selfie."""
    return replaced_graph(model, path, [helper.make_node("BitwiseNot", ["pictures"], ["painted"])], painted_shape)


def replaced_graph(model, path, nodes, painted_shape, initializers=()):
    """Save the model with another graph, whose output is computed by `nodes`."""
    original = onnx.load(model / "portraitist.onnx")
    inputs = list(original.graph.input)
    output = helper.make_tensor_value_info("painted", TensorProto.UINT8, painted_shape)
    graph = helper.make_graph(nodes, "graph", inputs, [output], list(initializers))
    changed = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    for entry in original.metadata_props:
        if entry.key == CHECKSUM_KEY:
            continue
        changed.metadata_props.add(key=entry.key, value=entry.value)
    onnx.save(changed, path)
    return path


def write_video(path, frames, codec="libx264", sound=None, times_ms=None, sound_rate=48000):
    """Write a clip of 10 frames per second, or with given times, and a tone of the same length as its sound."""
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=10)
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt, video.codec_context.time_base = "yuv420p", Fraction(1, 1000)
        audio = container.add_stream(sound, rate=sound_rate, layout="mono") if sound else None
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels)
            frame.pts, frame.time_base = times_ms[number] if times_ms else 100 * number, Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio:
            tone = 8000 * np.sin(2 * np.pi * 440 / sound_rate * np.arange(sound_rate * len(frames) // 10))
            samples = av.AudioFrame.from_ndarray(tone.astype(np.int16)[None], format="s16", layout="mono")
            samples.rate, samples.pts, samples.time_base = sound_rate, 0, Fraction(1, sound_rate)
            container.mux(audio.encode(samples))
            container.mux(audio.encode(None))
    return path


def resized(selfie, side):
    """Return a selfie at another size; `selfie` is a path or an open file."""
    with Image.open(selfie) as opened:
        return opened.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)


def with_margin(selfie, side):
    """Return a selfie at another size, with a margin in the colours of its border: its crops end inside the result."""
    margin = (side // 2,) * 2
    return Image.fromarray(np.pad(np.asarray(resized(selfie, side)), (margin, margin, (0, 0)), mode="edge"))


def touching_people(sample):
    """Return an RGBA picture of two persons in front of nothing; the second one overlaps the first."""
    photo = Image.new("RGBA", (406, 256))
    for number, left in ((0, 0), (6, 150)):
        person = Image.open(sample / "selfies" / f"{number:04d}.jpg").convert("RGB")
        person.putalpha(Image.open(sample / "masks" / "selfies" / f"{number:04d}.png"))
        photo.alpha_composite(person, (left, 0))
    return photo
