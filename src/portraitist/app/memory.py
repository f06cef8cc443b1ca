"""Divide a memory limit among the parts of the server, and measure the memory of a process.

Decoders are child processes that decode uploaded pictures. Names that end in `_mb` are sizes in MiB, except those of
uploads, which are in units of 10**6 bytes.
"""

import ctypes
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

DECODER_MB = 1024  # address space of a decoder; suffices for 50 megapixels, except for WebP with transparency
THREAD_MB = 320  # memory to paint one picture and encode the response, with size 4096 and a background picture
UPLOAD_COPIES = 2  # copies of an upload's bytes in memory while the form is parsed
STATM, TASKS = Path("/proc/self/statm"), Path("/proc/self/task")  # Linux


@dataclass(frozen=True)
class MemoryPlan:
    """Memory limits of the server's parts, and the number of pictures that are processed at the same time.

    Attributes:
        decoders: number of pictures that are decoded at the same time, each in its own process.
        threads: number of pictures that are painted at the same time.
        uploads_mb: size of all uploads that may be in memory.
        process_mb: limit of one worker process, without its decoders.
    """

    decoders: int
    threads: int
    uploads_mb: float
    process_mb: int

    @classmethod
    def divide(cls, memory_mb: int, used_mb: float, body_mb: float, cores: int) -> "MemoryPlan":
        """Divide `memory_mb` among decoders, painting threads and uploads.

        Decoders get at most half of the memory, but there is at least one decoder. Then come the painting threads, at
        most one per core. Uploads get the rest.

        Args:
            memory_mb: limit on the memory of one worker process together with its decoders.
            used_mb: memory that the worker process uses without any request, mostly for the model.
            body_mb: size of the largest allowed upload.
            cores: number of cores.

        Raises:
            ValueError: `memory_mb` is too small for one decoder, one painting thread and one upload.
        """
        decoders = min(cores, max(1, int(memory_mb / 2 // DECODER_MB)))
        process_mb = memory_mb - decoders * DECODER_MB
        threads = min(cores, int((process_mb - used_mb - UPLOAD_COPIES * body_mb) // THREAD_MB))
        if threads < 1:
            least = DECODER_MB + THREAD_MB + used_mb + UPLOAD_COPIES * body_mb
            raise ValueError(f"{memory_mb} MiB of memory do not suffice; at least {least + 1:.0f} MiB are needed")
        uploads_mb = (process_mb - used_mb - threads * THREAD_MB) / UPLOAD_COPIES
        return cls(decoders, threads, uploads_mb, process_mb)


def default_memory_mb(cores: int) -> int:
    """Return the default memory limit: 1536 MiB, plus 512 MiB for each core.

    `MemoryPlan.divide` divides this memory among decoders, painting threads and uploads.
    """
    return 1536 + 512 * cores


def resident_mb() -> float:
    """Return the resident memory of this process in MiB; 0 on systems other than Linux."""
    with suppress(OSError):
        return int(STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    return 0.0


def resident_with_children_mb() -> float:
    """Return the resident memory of this process and its child processes in MiB; 0 on systems other than Linux."""
    children = [pid for path in TASKS.glob("*/children") for pid in _read(path).split()]
    sizes = [_read(Path(f"/proc/{pid}/statm")).split() for pid in children]
    pages = sum(int(size[1]) for size in sizes if size)
    return resident_mb() + pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _read(path: Path) -> str:
    """Return the content of a process's file in /proc, or an empty string if the process has ended."""
    with suppress(OSError):
        return path.read_text(encoding="ascii")
    return ""


def release_free_memory() -> None:
    """Make the C library return freed memory to the system (glibc only)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
