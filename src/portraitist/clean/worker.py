"""Workers of stage clean: the first decodes and screens a shard of files, the second copies the accepted pictures."""

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

FINGERPRINTS = "fingerprints"  # the shard member with the fingerprints of a picture, for the search of near-duplicates


@dataclass
class ScreenedShard:
    """Outcome and measures of each picture of a shard by id, and the index of the accepted pictures' shard."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    index: str = ""


class ScreenWorker:
    """Function object that screens the files of one shard per call, in its own sandboxed process."""

    def __init__(self, params: CleanParams, dest: Path) -> None:
        limits = Limits(params.task_memory_mb, params.task_cpu_s, params.task_wall_s)
        self.params, self.dest = params, dest
        self.sandbox = Sandbox("portraitist.clean.screening:screen", limits, workers=1)

    def __call__(self, task: ShardTask) -> ScreenedShard:
        """Write the pictures of a shard that pass all checks; near-duplicates are found later, over all shards."""
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
    """Function object that copies the pictures of one shard per call, without their fingerprints."""

    def __init__(self, dest: Path) -> None:
        self.dest = dest

    def __call__(self, task: ShardTask) -> str:
        """Write a shard; return its part of the index."""
        return write_shard(self.dest / task.name, self._pictures(task))

    def _pictures(self, task: ShardTask) -> Iterator[tuple[str, dict[str, bytes]]]:
        for picture in task.pictures:
            members = task.shards.members(picture["id"])
            yield picture["id"], {ending: data for ending, data in members.items() if ending != FINGERPRINTS}
