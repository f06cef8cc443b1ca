"""Run a module or a command without network access: python sealed.py (inet|connect) (MODULE | -- COMMAND) [ARG ...].

A seccomp filter kills the process, including native threads, at a forbidden system call. With `inet`, the process must
not create an internet socket. With `connect`, it must not connect one (for servers, which listen but never connect).
"""

import ctypes
import os
import platform
import runpy
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
KILL_PROCESS, ALLOW = 0x80000000, 0x7FFF0000
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
AF_INET, AF_INET6 = 2, 10
SYSCALLS = {"x86_64": {"socket": 41, "connect": 42}, "aarch64": {"socket": 198, "connect": 203}}
SIZEOF_INET, SIZEOF_INET6 = 16, 28  # sizes of struct sockaddr_in and sockaddr_in6
NUMBER_AT, FIRST_ARGUMENT_AT, THIRD_ARGUMENT_AT = 0, 16, 32  # offsets in struct seccomp_data


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def is_supported() -> bool:
    return sys.platform == "linux" and platform.machine() in SYSCALLS


def seal(kind: str) -> None:
    """Kill this process when it creates an internet socket (`inet`), or connects to an internet address (`connect`)."""
    call, at, values = {
        "inet": ("socket", FIRST_ARGUMENT_AT, (AF_INET, AF_INET6)),
        # by size, to allow Unix sockets, such as that of nscd
        "connect": ("connect", THIRD_ARGUMENT_AT, (SIZEOF_INET, SIZEOF_INET6)),
    }[kind]
    code = [
        (LOAD, 0, 0, NUMBER_AT),
        (JUMP_IF_EQUAL, 0, 4, SYSCALLS[platform.machine()][call]),
        (LOAD, 0, 0, at),
        (JUMP_IF_EQUAL, 1, 0, values[0]),
        (JUMP_IF_EQUAL, 0, 1, values[1]),
        (RETURN, 0, 0, KILL_PROCESS),
        (RETURN, 0, 0, ALLOW),
    ]
    packed = b"".join(struct.pack("HBBI", *line) for line in code)
    program = _Program(len(code), packed)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0
    ):
        raise OSError(ctypes.get_errno(), "seccomp filter refused")


if __name__ == "__main__":
    seal(sys.argv[1])
    if sys.argv[2] == "--":
        os.execvp(sys.argv[3], sys.argv[3:])  # the filter remains active, also in child processes
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
