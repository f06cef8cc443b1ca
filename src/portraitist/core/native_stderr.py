"""Discard warnings that C libraries print and that no setting turns off."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_native_stderr() -> Iterator[None]:
    """Discard what C libraries print to stderr within the context, such as libtiff's warnings about damaged files.

    Python code can still print to sys.stderr, which uses a copy of the file descriptor.
    """
    original = sys.stderr
    try:
        is_native = original.fileno() == 2
    except (AttributeError, OSError, ValueError):  # sys.stderr was replaced, as in tests
        is_native = False
    if not is_native:
        yield
        return
    original.flush()
    saved = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)
    sys.stderr = os.fdopen(saved, "w", buffering=1, encoding=original.encoding, errors=original.errors)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        sys.stderr.close()
        sys.stderr = original
