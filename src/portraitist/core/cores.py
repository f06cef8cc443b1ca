"""Count the CPU cores that this process may use."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def available_cores(cgroups: Path = CGROUPS) -> int:
    """Return the number of cores that this process may use, at least 1, by its affinity and a container's CPU quota.

    `os.cpu_count()` is the number of cores of the machine; a container may have fewer.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *_cpu_quotas(cgroups)]))


def _cpu_quotas(cgroups: Path) -> Iterator[int]:
    """Yield the CPU quotas of the root control group (in a container, its own), versions 2 and 1, rounded up."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((cgroups / name).read_text() for name in names).split()
            if int(quota) > 0:
                yield math.ceil(int(quota) / int(period))
        except (OSError, ValueError, ZeroDivisionError):  # no such file, or "max" for no quota
            continue
