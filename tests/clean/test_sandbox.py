import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from portraitist.clean.sandbox import MAX_PENDING, Limits, Message, Sandbox

HERE = str(Path(__file__).parent)


def task(message: Message) -> Message:
    """Run in the worker processes: do what the request names."""
    action = message.content["do"]
    if action == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if action == "exit":
        sys.exit(3)
    if action == "sleep":
        time.sleep(60)
    if action == "spin":
        while True:
            pass
    if action == "compute":
        end = time.process_time() + message.content["s"]
        while time.process_time() < end:
            pass
    if action == "allocate":
        try:
            np.ones(message.content["mb"] * 2**20, np.uint8)
        except MemoryError:
            return Message({"allocated": False}, {})
        return Message({"allocated": True}, {})
    if action == "print":
        print("noise", flush=True)
        os.write(1, b"noise")
        os.write(2, b"noise")
    if action == "slow":
        time.sleep(message.content["s"])
    peak = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) // 1024
    return Message({"pid": os.getpid(), "number": message.content.get("number"), "peak_mb": peak}, message.parts)


@pytest.fixture(autouse=True)
def _workers_find_this_file(monkeypatch):
    monkeypatch.syspath_prepend(HERE)


def sandbox(workers=2, *, memory_mb=1024, cpu_s=30, wall_s=300.0):
    return Sandbox("test_sandbox:task", Limits(memory_mb, cpu_s, wall_s), workers)


def requests(*actions, **options):
    return [Message({"do": action, "number": number, **options}, {}) for number, action in enumerate(actions)]


def test_responses_are_in_order_with_their_bytes():
    data = [os.urandom(size) for size in (0, 1, 70_000, 3_000_000)]
    messages = [
        Message({"do": "slow", "s": 0.2 / (n + 1), "number": n, "ü": "☃"}, {"bytes": one, "more": b"x"})
        for n, one in enumerate(data)
    ]
    with sandbox() as pool:
        responses = list(pool.map(messages))
        assert [response.parts for response in responses] == [message.parts for message in messages]
        assert [response.content["number"] for response in responses] == [0, 1, 2, 3]
        assert len({response.content["pid"] for response in responses}) == 2
        assert os.getpid() not in {response.content["pid"] for response in responses}
        assert [response.content["number"] for response in pool.map(requests("", "", ""))] == [0, 1, 2]  # reused


def test_failed_request_does_not_reach_the_next_one(monkeypatch):
    """A message that was sent in part would change the meaning of the next one, which can be another user's."""
    good = Message({"do": "", "number": 7}, {"file": b"mine"})
    bad = Message({"do": "", "number": 8}, {})
    bad.parts["file"] = "text"
    with sandbox(1) as pool:
        with pytest.raises(TypeError, match="parts must be bytes, found str"):
            next(pool.map([bad]))
        assert next(pool.map([good])).parts == {"file": b"mine"}
        monkeypatch.setattr(Message, "write", write_header_only)
        with pytest.raises(ValueError, match="interrupted"):
            next(pool.map([Message({"do": "", "number": 1}, {"file": b"stolen"})]))
        monkeypatch.undo()
        (response,) = pool.map([good])
    assert (response.content["number"], response.parts) == (7, {"file": b"mine"})


def test_worker_that_cannot_be_started_is_started_by_the_next_task(monkeypatch):
    with sandbox(1) as pool:
        monkeypatch.setattr(subprocess, "Popen", Mock(side_effect=OSError(12, "Cannot allocate memory")))
        assert "died" in next(pool.map(requests("crash"))).content
        with pytest.raises(OSError, match="Cannot allocate memory"):
            next(pool.map(requests("")))
        monkeypatch.undo()
        monkeypatch.syspath_prepend(HERE)
        assert next(pool.map(requests(""))).content["number"] == 0


def write_header_only(message, pipe):
    header = json.dumps({"content": message.content, "sizes": {"file": 6}}).encode()
    pipe.write(struct.pack(">I", len(header)) + header)
    pipe.flush()
    raise ValueError("interrupted")


@pytest.mark.parametrize(("action", "reason"), [("crash", "SIGSEGV"), ("exit", "exited with code 3")])
def test_dying_worker_loses_only_its_task(action, reason):
    with sandbox(1) as pool:
        responses = list(pool.map(requests("", "", action, "", action, action, "")))
    assert ["died" in response.content for response in responses] == [False, False, True, False, True, True, False]
    assert all(reason in response.content["died"] for response in responses if "died" in response.content)
    pids = [response.content["pid"] for response in responses if "pid" in response.content]
    assert pids[0] == pids[1]  # a worker is reused
    assert len(set(pids)) == 3


def test_task_is_killed_after_wall_time():
    stopped = "decoding was stopped after 1.5 s"
    with sandbox(2, wall_s=1.5) as pool:
        responses = list(pool.map(requests("sleep", "", "spin")))
    assert [response.content.get("died") for response in responses] == [stopped, None, stopped]


@pytest.mark.slow
def test_cpu_time_is_limited_per_task():
    exceeded = "decoding took more CPU time than allowed"
    with sandbox(1, cpu_s=2) as pool:
        computed = list(pool.map(requests(*["compute"] * 5, s=0.9)))
        spinning = list(pool.map(requests("spin", "", "spin")))
    assert len({response.content["pid"] for response in computed}) == 1  # 4.5 s in total, each below the limit
    assert [response.content.get("died") for response in spinning] == [exceeded, None, exceeded]


def test_memory_is_limited():
    with sandbox(1, memory_mb=1024) as pool:
        responses = list(pool.map(requests("allocate", mb=2000) + requests("allocate", mb=50) + requests("")))
    assert [response.content.get("allocated") for response in responses] == [False, True, None]
    assert responses[2].content["peak_mb"] < 600


def test_output_of_libraries_is_discarded(capfd):
    with sandbox(1) as pool:
        responses = list(pool.map(requests("print", "")))
    assert [response.content["number"] for response in responses] == [0, 1]
    assert capfd.readouterr() == ("", "")


def test_number_of_pending_tasks_is_bounded():
    started = []

    def messages():
        for number in range(100):
            started.append(number)
            yield Message({"do": "", "number": number}, {})

    with sandbox(2) as pool:
        responses = pool.map(messages())
        for taken in range(1, 4):
            next(responses)
            assert len(started) <= taken + MAX_PENDING * 2


def test_missing_task_function_is_an_error(capfd):
    broken = Sandbox("test_sandbox:no_such", Limits(1024, 5, 5.0), 1)
    with broken, pytest.raises(RuntimeError, match="did not start"):
        list(broken.map(requests("")))
    assert "no_such" in capfd.readouterr().err


def test_no_worker_process_is_left():
    with sandbox(2) as pool:
        pids = {response.content["pid"] for response in pool.map(requests(*[""] * 8))}
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
