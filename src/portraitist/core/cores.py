"""Count the CPU cores that this process may use."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def available_cores(cgroups: Path = CGROUPS) -> int:
    """Return the number of CPU cores that this process may use, at least 1.

    `os.cpu_count()` counts all cores of the machine. This function also considers the process's CPU affinity and the
    CPU quota of a container.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *_cpu_quotas(cgroups)]))


def _cpu_quotas(cgroups: Path) -> Iterator[int]:
    """Yield the CPU quotas of the root control group, in cores, rounded up.

    In a container, the root control group is the container's own. Control groups of version 2 and of version 1 are
    supported.
    """
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((cgroups / name).read_text() for name in names).split()
            if int(quota) > 0:
                yield math.ceil(int(quota) / int(period))
        except (OSError, ValueError, ZeroDivisionError):  # the file is missing, or contains "max": no quota
            continue
