"""Functions of stage clean that run in worker processes: one decodes and checks a shard, the other copies pictures."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portraitist.clean.params import CleanParams
from portraitist.clean.sandbox import Limits, Sandbox
from portraitist.clean.screening import make_request
from portraitist.core.outcome import Status
from portraitist.core.shards import write_shard
from portraitist.core.workers import ShardTask

FINGERPRINTS = "fingerprints"  # ending of the shard's file with a picture's fingerprints, to find near-duplicates


@dataclass
class ScreenedShard:
    """The result of checking one shard."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)  # status and measures of each picture, by id
    index: str = ""  # index of the new shard with the pictures that passed


class ScreenWorker:
    """Function object that decodes and checks files in a process with resource limits. Each call reads one shard."""

    def __init__(self, params: CleanParams, dest: Path) -> None:
        limits = Limits(params.task_memory_mb, params.task_cpu_s, params.task_wall_s)
        self.params, self.dest = params, dest
        self.sandbox = Sandbox("portraitist.clean.screening:screen", limits, workers=1)

    def __call__(self, task: ShardTask) -> ScreenedShard:
        """Write a shard of the pictures that pass all checks; near-duplicates are searched later."""
        screened = ScreenedShard()
        screened.index = write_shard(self.dest / task.name, self._passed(task, screened.rows))
        return screened

    def _passed(self, task: ShardTask, rows: dict[str, dict[str, Any]]) -> Iterator[tuple[str, dict[str, bytes]]]:
        costly = {"status": Status.TOO_COSTLY.value}
        rows |= {picture: costly | {"reason": reason} for picture, reason in task.rejected.items()}
        files = [picture for picture in task.pictures if picture["id"] not in rows]
        requests = (make_request(task.shards.members(file["id"]), file["kind"], self.params) for file in files)
        for file, response in zip(files, self.sandbox.map(requests), strict=True):
            if "died" in response.content:
                rows[file["id"]] = costly | {"reason": response.content["died"]}
                continue
            row = dict(response.content)
            fingerprints = bytes.fromhex(row.pop("fingerprints", ""))
            rows[file["id"]] = row
            if row["status"] == Status.KEPT.value:
                yield file["id"], response.parts | {FINGERPRINTS: fingerprints}


class CopyWorker:
    """Function object that copies pictures to new shards in the folder `dest`. Each call writes one new shard.

    The pictures' fingerprints, by which near-duplicates were found, are not copied.
    """

    def __init__(self, dest: Path) -> None:
        self.dest = dest

    def __call__(self, task: ShardTask) -> str:
        """Write a new shard with the task's pictures, and return CSV text.

        The text has no header. Its rows describe the files in the new shard; the caller writes these rows into the
        index of `dest`.
        """
        return write_shard(self.dest / task.name, self._pictures(task))

    def _pictures(self, task: ShardTask) -> Iterator[tuple[str, dict[str, bytes]]]:
        for picture in task.pictures:
            members = task.shards.members(picture["id"])
            yield picture["id"], {ending: data for ending, data in members.items() if ending != FINGERPRINTS}
