from pathlib import Path

import pytest

from portraitist.core.cores import available_cores

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "1000 100000\n"}, 1),
        ({"cpu.max": "nonsense"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
    ],
)
def test_cores_are_limited_by_affinity_and_container_quota(files, cores, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert available_cores(tmp_path) == cores


def test_cores_are_counted_in_one_place():
    files = [path for top in ("src", "pipeline", "benchmarks") for path in (ROOT / top).rglob("*.py")]
    counting = {path.name for path in files if "cpu_count" in path.read_text(encoding="utf-8")}
    assert counting == {"cores.py"}
