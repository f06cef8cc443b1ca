import os
import re
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from portraitist.clean.sandbox import Limits, Message, Sandbox

HERE = str(Path(__file__).parent)


def task(message: Message) -> Message:
    """What the children of these tests do: as they are told."""
    what = message.about["do"]
    if what == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "leave":
        sys.exit(3)
    if what == "sleep":
        time.sleep(60)
    if what == "spin":
        while True:
            pass
    if what == "work":
        end = time.process_time() + message.about["s"]
        while time.process_time() < end:
            pass
    if what == "eat":
        try:
            np.ones(message.about["mb"] * 2**20, np.uint8)
        except MemoryError:
            return Message({"ate": False}, {})
        return Message({"ate": True}, {})
    if what == "shout":
        print("noise", flush=True)
        os.write(1, b"noise")
        os.write(2, b"noise")
    if what == "slow":
        time.sleep(message.about["s"])
    peak = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) // 1024
    return Message({"pid": os.getpid(), "number": message.about.get("number"), "peak_mb": peak}, message.parts)


@pytest.fixture(autouse=True)
def _children_find_this_file(monkeypatch):
    monkeypatch.syspath_prepend(HERE)


def sandbox(workers=2, *, memory_mb=1024, cpu_s=30, wall_s=300.0):
    return Sandbox("test_sandbox:task", Limits(memory_mb, cpu_s, wall_s), workers)


def asked(*whats, **more):
    return [Message({"do": what, "number": number, **more}, {}) for number, what in enumerate(whats)]


def test_bytes_go_in_and_come_back_in_order_whoever_is_first():
    data = [os.urandom(size) for size in (0, 1, 70_000, 3_000_000)]
    messages = [
        Message({"do": "slow", "s": 0.2 / (n + 1), "number": n, "ü": "☃"}, {"bytes": one, "more": b"x"})
        for n, one in enumerate(data)
    ]
    with sandbox() as children:
        answers = list(children.map(messages))
        assert [answer.parts for answer in answers] == [message.parts for message in messages]
        assert [answer.about["number"] for answer in answers] == [0, 1, 2, 3]
        assert len({answer.about["pid"] for answer in answers}) == 2
        assert os.getpid() not in {answer.about["pid"] for answer in answers}
        assert [answer.about["number"] for answer in children.map(asked("", "", ""))] == [0, 1, 2]  # and once more


@pytest.mark.parametrize(("what", "why"), [("crash", "SIGSEGV"), ("leave", "ended with code 3")])
def test_a_child_that_dies_costs_its_task_alone(what, why):
    with sandbox(1) as children:
        answers = list(children.map(asked("", "", what, "", what, what, "")))
    assert ["died" in answer.about for answer in answers] == [False, False, True, False, True, True, False]
    assert all(why in answer.about["died"] for answer in answers if "died" in answer.about)
    pids = [answer.about["pid"] for answer in answers if "pid" in answer.about]
    assert pids[0] == pids[1]  # a child lives on
    assert len(set(pids)) == 3


def test_who_sleeps_or_spins_is_stopped():
    with sandbox(2, wall_s=1.5) as children:
        answers = list(children.map(asked("sleep", "", "spin")))
    assert [answer.about.get("died") for answer in answers] == ["stopped after 1.5 s", None, "stopped after 1.5 s"]


@pytest.mark.slow
def test_processor_time_is_counted_for_each_task_anew():
    with sandbox(1, cpu_s=2) as children:
        worked = list(children.map(asked(*["work"] * 5, s=0.9)))
        spun = list(children.map(asked("spin", "", "spin")))
    assert len({answer.about["pid"] for answer in worked}) == 1  # 4.5 s in all, and none of them too much
    assert [answer.about.get("died") for answer in spun] == [
        "it took more processor time than allowed",
        None,
        "it took more processor time than allowed",
    ]


def test_memory_has_an_end():
    with sandbox(1, memory_mb=1024) as children:
        answers = list(children.map(asked("eat", mb=2000) + asked("eat", mb=50) + asked("")))
    assert [answer.about.get("ate") for answer in answers] == [False, True, None]
    assert answers[2].about["peak_mb"] < 600


def test_what_a_library_prints_is_no_answer(capfd):
    with sandbox(1) as children:
        answers = list(children.map(asked("shout", "")))
    assert [answer.about["number"] for answer in answers] == [0, 1]
    assert capfd.readouterr() == ("", "")


def test_few_tasks_are_begun_before_their_answers_are_taken():
    begun = []

    def messages():
        for number in range(100):
            begun.append(number)
            yield Message({"do": "", "number": number}, {})

    with sandbox(2) as children:
        answers = children.map(messages())
        for taken in range(1, 4):
            next(answers)
            assert len(begun) <= taken + 4 * 2


def test_a_task_that_does_not_exist_is_an_error_and_no_verdict_on_a_file(capfd):
    none = Sandbox("test_sandbox:no_such", Limits(1024, 5, 5.0), 1)
    with none, pytest.raises(RuntimeError, match="did not start"):
        list(none.map(asked("")))
    assert "no_such" in capfd.readouterr().err


def test_no_child_is_left_behind():
    with sandbox(2) as children:
        pids = {answer.about["pid"] for answer in children.map(asked(*[""] * 8))}
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
