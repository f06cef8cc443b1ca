"""A file gets its name when it is whole, and takes no other's."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(place: Path, force: bool) -> Iterator[Path]:
    """Where to write what becomes the file at place in the end, of the same ending; nothing stays if that fails.

    Raises:
        FileExistsError: There is a file already, or there is one by the end, and it is not to be written over.
        OSError: It cannot be written; the error names place, also where OpenCV or Pillow named nothing.
    """
    if not force and place.exists():  # before the work; after it, nobody can come between the look and the name
        raise _taken(place)
    partial = place.with_name(f".{os.getpid()}.partial.{place.name}")
    try:
        try:
            yield partial
            if not force:
                try:
                    place.touch(exist_ok=False)
                except FileExistsError:
                    raise _taken(place) from None
            partial.replace(place)
        finally:
            partial.unlink(missing_ok=True)  # on a disk that is read only this is a fault, too, though nothing is there
    except FileExistsError:
        raise
    except OSError as error:
        if error.filename and str(error.filename) != str(partial):  # of something else, such as what is read meanwhile
            raise
        raise OSError(error.errno, error.strerror or str(error), str(place)) from error


def _taken(place: Path) -> FileExistsError:
    return FileExistsError(f"{place} exists; --force writes over it")
