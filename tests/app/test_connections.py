import asyncio
import errno
import socket
import time
from contextlib import ExitStack

import pytest
from app_helpers import form, half_open_upload, request, serve_process, serving, wait_until
from starlette.requests import ClientDisconnect

from portraitist.app.connections import ConnectionPool, LoopErrorLog, is_proxy


@pytest.fixture(scope="module")
def upload(sample):
    return form(selfie=(sample / "selfies" / "0006.jpg").read_bytes())


def is_closed(connection):
    """Wait for the server and return whether it has closed the connection."""
    try:
        return connection.recv(1000) == b""
    except ConnectionResetError:
        return True


def is_open(connection):
    """Return whether the server has not closed the connection yet."""
    connection.setblocking(False)
    try:
        return not is_closed(connection)
    except BlockingIOError:
        return True


@pytest.mark.parametrize("data", [b"", b"GET / HTTP/1.1\r\nHost: 127.0"], ids=["idle", "half a head"])
def test_idle_connections_do_not_block_other_addresses(portraitist, data):
    pool = ConnectionPool(limit=20, per_address=10, idle_s=600.0)
    with serving(portraitist, pool=pool) as port, ExitStack() as stack:
        connections = []
        for number in range(60):
            source = ("127.0.0.2" if number % 2 else "127.0.0.3", 0)
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), 20, source))
            connection.sendall(data)
            connections.append(connection)
        for source in ("127.0.0.1", "127.0.0.2"):
            assert request(port, "GET", "/", source=source)[0] == 200
        wait_until(lambda: sum(map(is_open, connections)) <= 20)


def test_half_open_uploads_do_not_block_other_addresses(portraitist, upload):
    with serving(portraitist, waiting=20) as port, ExitStack() as stack:
        for source in ("127.0.0.2", "127.0.0.3"):
            for _ in range(100):
                stack.enter_context(half_open_upload(port, source))
        assert request(port, "POST", "/avatar", *upload)[0] == 200


def test_proxies_have_no_limit_per_address(portraitist):
    pool = ConnectionPool("127.0.0.1", limit=20, per_address=4)
    with serving(portraitist, pool=pool) as port, ExitStack() as stack:
        connections = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 20)) for _ in range(10)]
        for connection in connections:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")


def test_late_request_head_closes_the_connection(portraitist):
    with (
        serving(portraitist, pool=ConnectionPool(idle_s=0.2)) as port,
        socket.create_connection(("127.0.0.1", port), 20) as connection,
    ):
        connection.sendall(b"GET / HTTP/1.1\r\n")
        started = time.monotonic()
        assert is_closed(connection)
        assert 0.1 < time.monotonic() - started < 5


def test_upload_without_data_is_ended(portraitist, upload):
    with serving(portraitist, silent_s=0.2) as port, half_open_upload(port) as connection:
        assert connection.recv(1000).startswith(b"HTTP/1.1 408")
        assert request(port, "POST", "/avatar", *upload)[0] == 200


def test_trusted_proxies_are_addresses_and_networks():
    trusted = "127.0.0.1, 10.0.0.0/8, fd00::/8, nonsense"
    assert all(is_proxy(address, trusted) for address in ("127.0.0.1", "10.1.2.3", "fd00::1"))
    assert not any(is_proxy(address, trusted) for address in ("127.0.0.2", "11.0.0.1", "", "::1"))
    assert is_proxy("192.0.2.1", "*")


def test_loop_errors_are_one_line_per_minute(capsys):
    log, loop = LoopErrorLog(), asyncio.new_event_loop()
    log(loop, {"message": "Task exception was never retrieved", "exception": ClientDisconnect()})  # no error
    for _ in range(1000):
        log(loop, {"message": "socket.accept() out of system resource", "exception": OSError(errno.EMFILE, "x")})
    loop.close()
    assert capsys.readouterr().err == "portraitist: too many open files; raise `ulimit -n`\n"


@pytest.mark.slow
def test_1050_idle_connections_leave_the_page_and_log_usable(model, tmp_path):
    with (
        (tmp_path / "stderr").open("w") as stderr,
        serve_process(model, prefix="ulimit -n 1024", stderr=stderr) as (_, port),
        ExitStack() as stack,
    ):
        for _ in range(1050):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), 20))
        for _ in range(5):
            assert request(port, "GET", "/")[0] == 200
    assert (tmp_path / "stderr").read_text() == ""


@pytest.mark.slow
def test_sigterm_ends_half_open_uploads_within_five_seconds(model):
    with serve_process(model) as (process, port), ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(half_open_upload(port))
        wait_until(lambda: request(port, "GET", "/")[0] == 200)
        started = time.monotonic()
        process.terminate()
        process.wait(20)
        assert time.monotonic() - started < 6
