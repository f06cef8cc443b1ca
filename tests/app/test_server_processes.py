"""Health, metrics, access log, shutdown and worker processes of `portraitist serve`."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from app_helpers import half_open_upload, post, request, serve_process, serving, wait_until
from prometheus_client import REGISTRY
from typer.testing import CliRunner

from portraitist.app import server, server_processes
from portraitist.cli import app as cli

MANY = ("--per-minute", "100000")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def metric(text, name):
    """Return the value of a metric in Prometheus' text format; 0 if it is missing."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_healthy_server_is_ready(portraitist):
    with serving(portraitist) as port:
        for path in ("/healthz", "/readyz"):
            status, _, body = request(port, "GET", path)
            assert (status, json.loads(body)) == (200, {"status": "ok"})


def test_server_without_memory_is_not_ready(portraitist, monkeypatch):
    with serving(portraitist) as port:
        monkeypatch.setattr(server, "resident_mb", lambda: 1e6)
        assert request(port, "GET", "/healthz")[0] == 200
        status, _, body = request(port, "GET", "/readyz")
        assert (status, json.loads(body)) == (503, {"status": "no memory left"})


def test_requests_are_counted_by_endpoint_and_reason(portraitist, selfie):
    def values():
        samples = {
            "painted": ("portraitist_requests_total", {"endpoint": "/avatar", "status": "200"}),
            "other": ("portraitist_requests_total", {"endpoint": "other", "status": "404"}),
            "seconds": ("portraitist_request_seconds_count", {"endpoint": "/avatar"}),
            "no picture": ("portraitist_rejected_total", {"reason": "not_a_picture"}),
            "rate": ("portraitist_rejected_total", {"reason": "rate_limit"}),
        }
        return {name: REGISTRY.get_sample_value(*sample) or 0 for name, sample in samples.items()}

    before = values()
    with serving(portraitist, per_minute=2) as port:
        statuses = [post(port, "/avatar", selfie=data)[0] for data in (selfie, b"x", selfie)]
        assert statuses == [200, 415, 429]
        request(port, "GET", "/anna-smith")
    after = values()
    assert {name: after[name] - before[name] for name in after} == {
        "painted": 1, "other": 1, "seconds": 3, "no picture": 1, "rate": 1,
    }  # fmt: skip


def test_access_log_has_nothing_of_the_client(portraitist, selfie, capsys):
    with serving(portraitist, access_log=True, per_minute=9) as port:
        post(port, "/avatar", selfie=b"x")
        request(port, "GET", "/position/secret-ticket")
        request(port, "GET", "/secret-name?secret=1", **{"User-Agent": "secret"})
        request(port, "SECRET", "/")
    output = capsys.readouterr().out
    lines = [json.loads(line) for line in output.splitlines()]
    logged = {line["endpoint"]: line for line in lines}
    assert set(logged) == {"/avatar", "/position", "other", "/"}
    assert (logged["/avatar"]["status"], logged["/avatar"]["reason"]) == (415, "not_a_picture")
    assert logged["/avatar"]["bytes_received"] > 100
    assert "secret" not in output.lower()
    assert "127.0.0.1" not in output


@pytest.mark.parametrize("workers", [1, 3])
def test_memory_is_divided_among_workers(workers):
    limits = server.Limits(memory_mb=6000)
    settings = server_processes.Settings(Path("m"), "cpu", "0.0.0.0", 0, None, workers, 2, limits, "", False)
    assert settings.worker_limits.memory_mb == 6000 // workers
    assert settings.cores_per_worker == (2 if workers == 1 else 1)


def test_options_are_read_from_the_environment(monkeypatch):
    seen = []
    monkeypatch.setattr(server_processes, "run", seen.append)
    values = {"HOST": "::1", "PORT": "81", "METRICS_PORT": "82", "WORKERS": "3", "MODEL": "m.onnx", "DEVICE": "cuda"}
    values |= {"MEGABYTES": "2.5", "MEMORY_MB": "9000", "WAITING": "7", "PER_MINUTE": "8", "SHUTDOWN_S": "9"}
    values |= {"FORWARDED_ALLOW_IPS": "*", "ACCESS_LOG": "1"}
    result = CliRunner().invoke(cli, ["serve"], env={f"PORTRAITIST_{name}": value for name, value in values.items()})
    assert result.exit_code == 0, result.output
    (settings,) = seen
    assert (settings.host, settings.port, settings.metrics_port, settings.workers) == ("::1", 81, 82, 3)
    assert (str(settings.model), settings.device, settings.access_log) == ("m.onnx", "cuda", True)
    assert settings.limits == server.Limits(2.5, 9000, 7, 8, shutdown_s=9.0)
    assert settings.forwarded_allow_ips == "*"


def test_port_in_use_is_named(model):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = CliRunner().invoke(cli, ["serve", "--model", str(model), "--port", str(port), "--memory-mb", "16384"])
    assert (result.exit_code, result.stderr) == (
        2,
        f"portraitist: --host 127.0.0.1 --port {port}: Address already in use\n",
    )


def submit_all(port, selfie, count, threads):
    """Send requests in threads; return a list to which each adds its status or the name of its error."""
    answers = []

    def send(_):
        try:
            status, headers, _ = post(port, "/avatar", selfie=selfie)
            answers.append(status if status != 503 else f"503, retry after {headers['retry-after']}")
        except OSError as error:
            answers.append(type(error).__name__)

    pool = ThreadPoolExecutor(threads)
    futures = [pool.submit(send, number) for number in range(count)]
    pool.shutdown(wait=False)
    return answers, futures


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_sigterm_finishes_queued_requests(model, selfie, workers):
    with serve_process(model, "--workers", workers, "--shutdown-s", "60", *MANY) as (process, port):
        wait_until(lambda: request(port, "GET", "/readyz")[0] == 200, 60)
        answers, futures = submit_all(port, selfie, 12, 12)
        wait_until(lambda: len(answers) >= 2, 60)
        process.terminate()
        wait_until(lambda: post(port, "/avatar", selfie=selfie)[0] == 503, 60)
        assert request(port, "GET", "/readyz")[0] == 503
        for future in futures:
            future.result(60)
        assert process.wait(60) in (0, -signal.SIGTERM)
    assert answers == [200] * 12


def worker_pids(process):
    """Return the process ids of a supervisor's workers."""
    command = ["pgrep", "-P", str(process.pid), "-f", "multiprocessing.spawn"]
    return set(subprocess.run(command, capture_output=True, text=True, check=False).stdout.split())


@pytest.mark.slow
@pytest.mark.parametrize("metrics", [False, True])
def test_killed_workers_are_replaced(model, selfie, metrics):
    options = ("--metrics-port", str(free_port())) if metrics else ()
    with serve_process(model, "--workers", "2", *options, *MANY) as (process, port):
        wait_until(lambda: len(worker_pids(process)) == 2 and request(port, "GET", "/readyz")[0] == 200, 60)
        first, second = killed = worker_pids(process)
        subprocess.run(["kill", "-9", first], check=True)
        wait_until(lambda: len(worker_pids(process) - killed) == 1, 60)
        subprocess.run(["kill", "-9", second], check=True)
        wait_until(lambda: len(worker_pids(process) - killed) == 2, 60)
        assert [post(port, "/avatar", selfie=selfie)[0] for _ in range(4)] == [200] * 4  # the new workers answer
        process.terminate()
        assert process.wait(60) == 0


@pytest.mark.slow
def test_workers_share_rate_limit_positions_and_metrics(model, selfie):
    metrics_port = free_port()
    options = ("--workers", "2", "--per-minute", "3", "--metrics-port", str(metrics_port))
    with serve_process(model, *options) as (process, port):
        wait_until(lambda: request(port, "GET", "/readyz")[0] == 200, 60)
        with ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(lambda _: post(port, "/avatar", selfie=selfie)[0], range(8)))
        assert sorted(statuses) == [200] * 3 + [429] * 5
        text = request(metrics_port, "GET", "/metrics")[2].decode()
        assert metric(text, 'portraitist_requests_total{endpoint="/avatar",status="200"}') == 3
        assert metric(text, 'portraitist_rejected_total{reason="rate_limit"}') == 5
        assert metric(text, "portraitist_memory_bytes") > 2e8
        assert request(port, "GET", "/metrics")[0] == 404
        process.terminate()
        process.wait(60)


@pytest.mark.slow
def test_workers_end_when_the_supervisor_is_killed(model):
    with serve_process(model, "--workers", "2") as (process, port):
        wait_until(lambda: request(port, "GET", "/readyz")[0] == 200, 60)
        process.kill()

        def refused():
            try:
                socket.create_connection(("127.0.0.1", port), 5).close()
            except OSError:
                return True
            return False

        wait_until(refused, 30)


@pytest.mark.slow
def test_half_open_uploads_do_not_block_two_workers(model, selfie):
    with serve_process(model, "--workers", "2", *MANY) as (process, port), ExitStack() as stack:
        wait_until(lambda: request(port, "GET", "/readyz")[0] == 200, 60)
        for _ in range(100):
            stack.enter_context(half_open_upload(port, "127.0.0.2"))
        assert [post(port, "/avatar", selfie=selfie)[0] for _ in range(4)] == [200] * 4
        started = time.monotonic()
        process.terminate()
        process.wait(30)
        assert time.monotonic() - started < 10


@pytest.mark.slow
def test_unusable_model_stops_all_workers(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"no model")
    command = [sys.executable, "-m", "portraitist", "serve", "--workers", "2", "--model", str(tmp_path / "x.onnx")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)
