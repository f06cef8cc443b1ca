"""Run the server: one process, or a supervisor with several worker processes that share one queue and its limits.

The supervisor is uvicorn's: it starts workers, passes signals on to them, and replaces workers that have ended. The
queue and the rate limits (`Admissions`) are in the supervisor; the workers call them over a Unix socket. The supervisor
also serves the metrics of all workers.
"""

import os
import secrets
import signal
import socket
import sys
import threading
from contextlib import ExitStack
from dataclasses import dataclass, replace
from multiprocessing import parent_process
from multiprocessing.managers import BaseManager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from portraitist.app.avatar import ModelError, Portraitist
from portraitist.app.connections import ConnectionPool
from portraitist.app.memory import release_free_memory
from portraitist.app.request_log import write_event
from portraitist.app.request_queue import Admissions
from portraitist.app.server import Limits, create_app, plan_memory, uvicorn_options
from portraitist.app.server_metrics import FOLDER_VARIABLE, serve_metrics
from portraitist.core.native_stderr import quiet_native_stderr

LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
HEALTH_CHECK_S = 60  # the supervisor replaces a worker that does not respond for so long, also while it loads


class StartError(RuntimeError):
    """The server cannot start with these settings.

    The message gives the reason. In most cases, it also names the option that must be changed.
    """


@dataclass(frozen=True)
class Settings:
    """Settings of `portraitist serve`.

    Attributes:
        model: path of the model file or of its folder.
        device: cpu, cuda or coreml.
        host: address to listen on.
        port: port to listen on; 0 chooses a free one.
        metrics_port: port of the metrics, on the same host; None for no metrics.
        workers: number of worker processes.
        cores: number of CPU cores that all workers share.
        limits: limits of all workers together.
        forwarded_allow_ips: addresses of trusted reverse proxies, comma-separated.
        access_log: write each request as a line of JSON to stdout.
    """

    model: Path
    device: str
    host: str
    port: int
    metrics_port: int | None
    workers: int
    cores: int
    limits: Limits
    forwarded_allow_ips: str
    access_log: bool

    @property
    def accepted_hosts(self) -> list[str]:
        """Accepted values of the Host header."""
        return ["127.0.0.1", "localhost", "[::1]"] if self.host in LOCAL_HOSTS else ["*"]

    @property
    def cores_per_worker(self) -> int:
        """Number of CPU cores for each worker; a worker paints at most one picture per core at the same time."""
        return max(1, self.cores // self.workers)

    @property
    def worker_limits(self) -> Limits:
        """The limits of one worker. `memory_mb` is divided by the number of workers; all other limits are unchanged."""
        memory_mb = self.limits.memory_mb
        return replace(self.limits, memory_mb=memory_mb and max(1, memory_mb // self.workers))


class _Config(uvicorn.Config):
    """uvicorn's configuration. With several workers, the supervisor creates it and each worker process loads it.

    Args:
        settings: the server's settings.
        portraitist: the loaded model; None if a worker process has to load it.
        supervisor: address at which the supervisor serves `Admissions`; None if there is only one process.
    """

    def __init__(self, settings: Settings, portraitist: Portraitist | None = None, supervisor: Any = None) -> None:
        options = uvicorn_options(settings.forwarded_allow_ips)
        super().__init__("", **options, workers=settings.workers, timeout_worker_healthcheck=HEALTH_CHECK_S)
        self.settings, self.portraitist, self.supervisor = settings, portraitist, supervisor

    def load(self) -> None:
        """Create the HTTP protocol class with its connection limits, and the application.

        uvicorn calls this method in each process that serves requests.
        """
        self.http = ConnectionPool(self.settings.forwarded_allow_ips).protocol()
        super().load()

    def load_app(self) -> Any:
        """Create the application; if this fails, exit with the code `STARTUP_FAILURE`, which ends the supervisor."""
        settings, admissions = self.settings, None
        if self.supervisor:
            self._quiet = ExitStack()
            self._quiet.enter_context(quiet_native_stderr())
            threading.Thread(target=_end_with_supervisor, daemon=True).start()
            manager = _Manager(self.supervisor)
            manager.connect()
            admissions = manager.admissions()  # type: ignore[attr-defined]
        try:
            return create_app(
                self.portraitist or _open_model(settings),
                settings.cores_per_worker,
                settings.worker_limits,
                settings.accepted_hosts,
                admissions,
                settings.access_log,
            )
        except (StartError, ValueError) as error:
            print(f"portraitist: {error}", file=sys.stderr)
            sys.exit(STARTUP_FAILURE)


class _Manager(BaseManager):
    """Connection to the supervisor's `Admissions`."""


def run(settings: Settings) -> None:
    """Run the server until a signal ends it.

    Raises:
        StartError: the model is damaged, the memory limit is too small, or an address is not available.
    """
    with ExitStack() as stack:
        stack.enter_context(quiet_native_stderr())
        portraitist = _open_model(settings)  # also if only workers use the model: if it is damaged, stop here
        try:
            plan_memory(settings.worker_limits, settings.cores_per_worker)
        except ValueError as error:
            each = f" for each of {settings.workers} workers" if settings.workers > 1 else ""
            raise StartError(f"--memory-mb: {error}{each}") from error
        listener = _listen(settings.host, settings.port)
        if settings.workers == 1:
            _start_metrics(settings)
            _announce(settings, listener)
            uvicorn.Server(_Config(settings, portraitist)).run(sockets=[listener])
            return
    del portraitist
    release_free_memory()
    with ExitStack() as stack:
        if settings.metrics_port is not None:
            os.environ[FOLDER_VARIABLE] = stack.enter_context(TemporaryDirectory(prefix="portraitist-"))
            _start_metrics(settings)
        supervisor = Multiprocess(_Config(settings, supervisor=_share_admissions(settings.limits)), [listener])
        _announce(settings, listener)
        supervisor.run()
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        raise StartError("a worker process did not start; see its error message above")


def _open_model(settings: Settings) -> Portraitist:
    try:
        portraitist = Portraitist(settings.model, settings.device, threads=1)
        portraitist.check()
    except ModelError as error:
        raise StartError(str(error)) from error
    return portraitist


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        reason = str(error.strerror or error).partition(" (while")[0]  # socket adds the address
        raise StartError(f"--host {host} --port {port}: {reason}") from error


def _start_metrics(settings: Settings) -> None:
    if settings.metrics_port is None:
        return
    try:
        serve_metrics(settings.host, settings.metrics_port, settings.workers)
    except OSError as error:
        raise StartError(f"--metrics-port {settings.metrics_port}: {error.strerror or error}") from error


def _announce(settings: Settings, listener: socket.socket) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"http://{host}:{listener.getsockname()[1]}/"
    if settings.access_log:
        write_event("start", url=url, workers=settings.workers)
    else:
        print(f"{url} (Ctrl-C stops)", flush=True)


def _share_admissions(limits: Limits) -> Any:
    """Start a thread that serves the queue and the rate limits to all workers; return the address of its Unix socket.

    Only child processes can connect, because they inherit the key of the `multiprocessing` module.
    """
    admissions = Admissions(limits.waiting, limits.per_minute)
    _Manager.register("admissions", callable=lambda: admissions)
    # on Linux, an abstract address, which needs no file; elsewhere, a socket in the folder for temporary files
    address = f"\0portraitist-{secrets.token_hex(8)}" if sys.platform == "linux" else None
    server = _Manager(address).get_server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.address


def _end_with_supervisor() -> None:
    """Wait until the supervisor ends, then end this worker process; runs in a thread."""
    supervisor = parent_process()
    if supervisor:
        supervisor.join()
        os.kill(os.getpid(), signal.SIGTERM)


_Manager.register("admissions")
