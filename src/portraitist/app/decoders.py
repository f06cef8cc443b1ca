"""Decode the pictures of the server's clients in processes with limits on memory and time.

A picture that exceeds a limit or crashes a library is rejected; the server is not affected.
"""

import numpy as np
import pillow_heif

from portraitist.app.selfie import read_selfie
from portraitist.clean.decode import CleanPicture, RejectedError
from portraitist.clean.sandbox import Limits, Message, Sandbox
from portraitist.core.outcome import Status

CPU_S, WALL_S = 20, 60.0  # limits for one picture; 50 megapixels take 1 to 3 s

pillow_heif.register_heif_opener(decode_threads=1)  # there is one decoder per core at most


class Decoders(Sandbox):
    """A context manager for the decoder processes that the painting threads use.

    Args:
        count: number of processes.
        memory_mb: address space of each, including the interpreter.
    """

    def __init__(self, count: int, memory_mb: int) -> None:
        super().__init__("portraitist.app.decoders:decode", Limits(memory_mb, CPU_S, WALL_S), count)

    def read(self, file: bytes) -> CleanPicture:
        """Decode a picture file, as `read_selfie` does; wait if all decoders are busy.

        Raises:
            RejectedError: as `read_selfie`, or because decoding exceeds a limit.
        """
        (answer,) = self.map([Message({}, {"file": file})])
        if died := answer.content.get("died"):
            raise RejectedError(Status.TOO_COSTLY, died)
        if status := answer.content.get("status"):
            raise RejectedError(Status(status), answer.content["reason"])
        planes = {
            name: np.frombuffer(answer.parts[name], np.uint8).reshape(shape).copy()
            for name, shape in answer.content["shapes"].items()
        }
        return CleanPicture(planes["picture"], planes.get("alpha"))


def decode(request: Message) -> Message:
    """Decode a picture file in a worker process."""
    try:
        cleaned = read_selfie(request.parts["file"])
    except RejectedError as error:
        return Message({"status": error.status.value, "reason": str(error)}, {})
    planes = {"picture": cleaned.picture} | ({} if cleaned.alpha is None else {"alpha": cleaned.alpha})
    shapes = {name: plane.shape for name, plane in planes.items()}
    return Message({"shapes": shapes}, {name: plane.tobytes() for name, plane in planes.items()})
