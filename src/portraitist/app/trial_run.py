"""Test a model's graph: load it and run it once, in a child process with limits on time and memory.

With a malicious or damaged graph, onnxruntime may run for hours or fill the memory, even while it creates the session.
A process cannot interrupt its own call of onnxruntime. Therefore, a child process tests the graph before the calling
process loads it.
"""

import json
import os
import resource
import subprocess
import sys

import numpy as np
import onnxruntime
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

LIMIT_S = 30.0  # wall time; a valid graph takes about a second
MEMORY_MB = 8192  # address space in MiB
THREADS = 4  # fixed, because threads reserve address space
LOGGING_FATAL = 4  # onnxruntime prints only fatal messages; errors are raised as exceptions
REJECTED = 3  # exit code if onnxruntime cannot load the graph


class TrialError(Exception):
    """The graph does not load or run within the limits; the message is one line."""


def try_graph(data: bytes, side: int | None = None) -> None:
    """Load an ONNX file in a child process, and run its graph on a blank picture.

    Args:
        data: the file.
        side: side of the blank picture in pixels; by default the size that the file's metadata require. If the metadata
            contain no size, the graph is loaded but not run.

    Raises:
        TrialError: loading or running failed, or exceeded a limit.
    """
    path = os.pathsep.join(filter(None, sys.path))
    environment = os.environ | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}  # import nothing from the current folder
    command = [sys.executable, "-m", "portraitist.app.trial_run", *([] if side is None else [str(side)])]
    try:
        process = subprocess.run(
            command, input=data, capture_output=True, env=environment, timeout=LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise TrialError(
            f"loading the model and painting one picture take more than {LIMIT_S:g} s; a valid model takes about a "
            "second. Replace the model file if it is damaged, or try again when the computer is less busy"
        ) from error
    except OSError as error:
        raise TrialError(f"{command[0]} cannot be started: {error.strerror}") from error
    if process.returncode:
        lines = process.stderr.decode("utf-8", "replace").splitlines() or [f"exit code {process.returncode}"]
        reason = lines[-1][:200].rstrip(".")
        if process.returncode == REJECTED:
            raise TrialError(f"not an exported model, or damaged: {reason}; copy or export the model again")
        raise TrialError(f"the model cannot run: {reason}")


def main() -> None:
    """Load and run the ONNX file on standard input, within the limits; this is the child process."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MB << 20, MEMORY_MB << 20))
    cpu_s = round(THREADS * LIMIT_S)  # ends this process even if its parent was killed
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.log_severity_level = LOGGING_FATAL
    try:
        session = onnxruntime.InferenceSession(sys.stdin.buffer.read(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common base class
        print(first_line(error), file=sys.stderr)
        sys.exit(REJECTED)
    try:
        if len(sys.argv) > 1:
            side = int(sys.argv[1])
        else:
            side = int(json.loads(session.get_modelmeta().custom_metadata_map["crop"])["size_px"])
        square = np.zeros((1, side, side), np.uint8)
        inputs = {"pictures": np.stack([square] * 3, axis=-1), "masks": square}
        inputs |= {tensor.name: np.zeros((1, 100), np.float32) for tensor in session.get_inputs()[2:]}  # `styles`
    except Exception:  # metadata is missing or malformed; the parent process reports it
        return
    try:
        session.run(["painted"], inputs)
    except InvalidArgument:  # metadata and graph have different sizes; the parent process reports it
        return
    except Exception as error:
        sys.exit(first_line(error))


def first_line(error: Exception) -> str:
    """Return at most 200 characters of the message's first line; of an error without a message, the type."""
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]


if __name__ == "__main__":
    main()
