"""Repair DVC's own files after DVC was killed while it wrote them; not a stage.

DVC does not write dvc.lock and .dvc/tmp/rwlock atomically: with DVC 3.67, 3 of 36 kills truncated one of them. Every
later command of DVC then fails. `make repro` runs this script first.
"""

import json
import subprocess
import sys
from pathlib import Path

import yaml

from portraitist.core.files import write_file

LOCK = Path("dvc.lock")
RWLOCK = Path(".dvc/tmp/rwlock")


def repair(root: Path) -> list[str]:
    """Restore a truncated dvc.lock from the last commit, and delete a truncated rwlock; return a line per repair."""
    done = []
    if (root / LOCK).exists() and not _is_lock_file((root / LOCK).read_bytes()):
        committed = subprocess.run(["git", "show", f"HEAD:./{LOCK}"], cwd=root, capture_output=True, check=False)
        if committed.returncode == 0:
            write_file(root / LOCK, committed.stdout)
            done.append(
                f"{LOCK} was truncated: restored from the last commit; DVC's run cache contains the results since then"
            )
        else:
            (root / LOCK).unlink()
            done.append(f"{LOCK} was truncated and is in no commit: removed; DVC's run cache contains the results")
    if (root / RWLOCK).exists() and not _is_json_object((root / RWLOCK).read_bytes()):
        (root / RWLOCK).unlink()
        done.append(f"{RWLOCK} was truncated: removed")
    return done


def _is_lock_file(data: bytes) -> bool:
    """Return whether the data is a complete dvc.lock.

    A file that is truncated at the end of a line can be valid YAML, so the entries of each stage are checked as well.
    """
    try:
        content = yaml.safe_load(data)
    except (yaml.YAMLError, UnicodeDecodeError):
        return False
    if not isinstance(content, dict) or not isinstance(content.get("stages"), dict) or not data.endswith(b"\n"):
        return False
    return all(isinstance(stage, dict) and _is_complete(stage) for stage in content["stages"].values())


def _is_complete(stage: dict[str, object]) -> bool:
    outputs = stage.get("outs")
    entries = [entry for key in ("deps", "outs") for entry in stage.get(key) or []]  # type: ignore[attr-defined]
    return "cmd" in stage and bool(outputs) and all(isinstance(entry, dict) and "md5" in entry for entry in entries)


def _is_json_object(data: bytes) -> bool:
    try:
        return isinstance(json.loads(data), dict)
    except ValueError:
        return False


if __name__ == "__main__":
    for line in repair(Path()):
        print(f"repair: {line}", file=sys.stderr)
