import io
import re
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from app_helpers import encode, post, serve_process, serving, wait_until
from PIL import Image
from starlette.exceptions import HTTPException
from typer.testing import CliRunner

from portraitist.app import decoders as app_decoders
from portraitist.app import server as app_server
from portraitist.app.connections import ConnectionPool
from portraitist.app.decoders import Decoders
from portraitist.app.memory import DECODER_MB, THREAD_MB, UPLOAD_COPIES, MemoryPlan, default_memory_mb
from portraitist.app.selfie import read_selfie
from portraitist.clean.decode import RejectedError
from portraitist.cli import app as cli
from portraitist.core.outcome import Status

needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
BODY_MB = 40.0


def grey_png_of_16_bits(side):
    wide = np.zeros((side, side), np.uint16)
    wide[::7] = 40000
    return encode(Image.fromarray(wide), "PNG", compress_level=1)


@pytest.mark.parametrize("cores", [1, 2, 4, 16, 64])
@pytest.mark.parametrize("used_mb", [180.0, 400.0])
def test_parts_of_the_memory_add_up_to_the_bound(cores, used_mb):
    memory_mb = default_memory_mb(cores)
    plan = MemoryPlan.divide(memory_mb, used_mb, BODY_MB, cores)
    assert 1 <= plan.decoders <= cores
    assert cores / 2 <= plan.threads <= cores
    assert plan.uploads_mb >= BODY_MB
    process_mb = used_mb + plan.threads * THREAD_MB + UPLOAD_COPIES * plan.uploads_mb
    assert process_mb == pytest.approx(plan.process_mb)
    assert plan.process_mb + plan.decoders * DECODER_MB == memory_mb


def test_too_little_memory_names_how_much_is_needed():
    with pytest.raises(ValueError, match="1500 MiB of memory do not suffice; at least") as caught:
        MemoryPlan.divide(1500, 200.0, BODY_MB, 2)
    least = int(re.search(r"at least (\d+)", str(caught.value))[1])
    assert MemoryPlan.divide(least, 200.0, BODY_MB, 2).threads == 1


@pytest.mark.parametrize(("bound", "message"), [("900", "900 MiB of memory do not suffice"), ("0", "memory-mb")])
def test_too_little_memory_ends_serve_with_one_line(model, bound, message):
    result = CliRunner().invoke(cli, ["serve", "--model", str(model), "--memory-mb", bound, "--port", "0"])
    assert result.exit_code == 2
    assert message in re.sub(r"\x1b\[[0-9;]*m", "", result.stderr)  # Typer colours its errors in GitHub's actions


def test_decoders_return_what_read_selfie_returns(selfie):
    transparent = encode(Image.new("RGBA", (90, 64), (10, 20, 30, 128)), "PNG")
    with Decoders(1, DECODER_MB) as decoders:
        for file in (selfie, transparent):
            expected, found = read_selfie(file), decoders.read(file)
            assert np.array_equal(found.picture, expected.picture)
            assert (found.alpha is None) == (expected.alpha is None)
            assert found.alpha is None or np.array_equal(found.alpha, expected.alpha)
        with pytest.raises(RejectedError, match="not a picture") as caught:
            decoders.read(b"no picture")
        assert caught.value.status is Status.NOT_A_PICTURE


def test_decoder_that_exceeds_its_memory_rejects_one_picture(selfie):
    large = encode(Image.new("RGBA", (5000, 5000), (1, 2, 3, 4)), "PNG", compress_level=1)
    with Decoders(1, 256) as decoders:
        with pytest.raises(RejectedError) as caught:
            decoders.read(large)
        assert caught.value.status is Status.TOO_COSTLY
        assert decoders.read(selfie).picture.shape == (256, 256, 3)


def test_picture_that_takes_too_long_is_rejected(selfie, monkeypatch):
    monkeypatch.setattr(app_decoders, "WALL_S", 0.001)
    with Decoders(1, DECODER_MB) as decoders:
        for _ in range(2):  # the second time in a new process, because the first was killed
            with pytest.raises(RejectedError, match=r"decoding was stopped after 0\.001 s") as caught:
                decoders.read(selfie)
            assert caught.value.status is Status.TOO_COSTLY


def test_requests_are_refused_while_memory_is_exhausted(portraitist, selfie, monkeypatch):
    with serving(portraitist) as port:
        monkeypatch.setattr(app_server, "resident_mb", lambda: 16_384.0)
        status, headers, _ = post(port, "/avatar", selfie=selfie)
        assert (status, headers["retry-after"]) == (503, "5")
        monkeypatch.undo()
        assert post(port, "/avatar", selfie=selfie)[0] == 200


def test_uploads_of_one_address_leave_memory_for_others(portraitist):
    limits = app_server.Limits(memory_mb=16_384)
    endpoints = app_server._Endpoints(portraitist, 2, limits, app_server.Admissions(20, 30))
    largest, limit = round(app_server._max_body_bytes(limits)), 1e6 * endpoints.memory.uploads_mb
    assert limit > 8 * largest
    with endpoints._upload_memory("192.0.2.1") as count, endpoints._upload_memory("192.0.2.2") as count_other:
        count(int(limit / 4))
        with pytest.raises(HTTPException) as caught:
            count(10)
        assert caught.value.status_code == 503
        count_other(largest)
    assert endpoints.upload_bytes == {}


def test_unread_response_is_dropped(portraitist, monkeypatch):
    pool, closed = ConnectionPool(send_s=0.3), []
    monkeypatch.setattr(pool, "remove", closed.append)
    with serving(portraitist, pool=pool) as port, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", port))
        connection.sendall(b"GET /image_math.js HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 1000)
        wait_until(lambda: closed)


def process_ids(parent):
    """Return a process and its children."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii")
    return [parent, *map(int, children.split())]


def peak_mb(pid):
    return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(encoding="ascii"))[1]) / 1024


@pytest.mark.slow
@needs_proc
def test_hostile_pictures_stay_within_the_memory_bound(model, selfie):
    large = Image.open(io.BytesIO(selfie)).resize((12_000, 9000))
    background = encode(Image.effect_noise((2016, 2016), 90).convert("RGB"), "JPEG")
    uploads = [
        *[{"selfie": grey_png_of_16_bits(7000)}] * 4,
        {"selfie": encode(large, "JPEG", quality=70)},
        {"selfie": encode(large, "JPEG", quality=70, progressive=True)},
        {"selfie": encode(Image.new("RGBA", (7000, 7000), (1, 2, 3, 4)), "PNG", compress_level=1)},
        {"selfie": encode(Image.new("RGBA", (8000, 6000), (1, 2, 3, 4)), "WEBP", lossless=True, method=0)},
        {"selfie": selfie, "background": background, "size": "4096", "shape": "circle"},
    ]
    memory_mb = 2048
    options = ("--per-minute", "1000", "--memory-mb", str(memory_mb))
    with serve_process(model, *options) as (process, port), ThreadPoolExecutor(len(uploads)) as pool:
        hostile = [pool.submit(post, port, "/avatar", **upload) for upload in uploads]
        answers = {future.result()[0] for future in hostile}
        assert post(port, "/avatar", selfie=selfie)[0] == 200
        peaks = [peak_mb(pid) for pid in process_ids(process.pid)]
    print(f"peak of server and decoders in MB: {[round(peak) for peak in peaks]}")
    assert answers <= {200, 422}
    assert sum(peaks) < memory_mb


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGKILL])
def test_decoders_end_with_the_server(model, selfie, kind):
    with serve_process(model) as (process, port):
        assert post(port, "/avatar", selfie=selfie)[0] == 200
        _, *decoders = process_ids(process.pid)
        assert decoders
        process.send_signal(kind)
        process.wait(20)
        wait_until(lambda: not any(is_running(pid) for pid in decoders))


def is_running(pid):
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return False
