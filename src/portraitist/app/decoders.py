"""Decode pictures that the server's clients have uploaded, in child processes with limits on memory and time.

If a picture exceeds a limit or crashes a library, it is rejected, and the server continues.
"""

import numpy as np
import pillow_heif

from portraitist.app.selfie import read_selfie
from portraitist.clean.decode import CleanPicture, RejectedError
from portraitist.clean.sandbox import Limits, Message, Sandbox
from portraitist.core.outcome import Status

CPU_S, WALL_S = 20, 60.0  # limits for one picture, in seconds; 50 megapixels take 1 to 3 s

pillow_heif.register_heif_opener(decode_threads=1)  # one thread is enough: there may be one decoder per core


class Decoders(Sandbox):
    """The server's decoder processes; a context manager that starts and ends them. Thread-safe.

    Args:
        count: number of processes.
        memory_mb: address space of each process in MiB, including the Python interpreter.
    """

    def __init__(self, count: int, memory_mb: int) -> None:
        super().__init__("portraitist.app.decoders:decode", Limits(memory_mb, CPU_S, WALL_S), count)

    def read(self, file: bytes) -> CleanPicture:
        """Decode the bytes of a picture file, as `read_selfie` does; wait if all decoders are busy.

        Raises:
            RejectedError: as in `read_selfie`, or because decoding exceeds a limit or crashes the process.
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
    """Decode the picture in the message's part `file`; runs in a decoder process.

    Returns:
        The shapes and pixels of `picture` and, if there is one, `alpha`; or the status and the reason of a rejection.
    """
    try:
        cleaned = read_selfie(request.parts["file"])
    except RejectedError as error:
        return Message({"status": error.status.value, "reason": str(error)}, {})
    planes = {"picture": cleaned.picture} | ({} if cleaned.alpha is None else {"alpha": cleaned.alpha})
    shapes = {name: plane.shape for name, plane in planes.items()}
    return Message({"shapes": shapes}, {name: plane.tobytes() for name, plane in planes.items()})
