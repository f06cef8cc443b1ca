"""A clip or a GIF to a painted one, frame by frame: crop and mask follow the face without trembling."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageSequence

from portraitist.app.avatar import (
    MAX_MEGAPIXELS,
    MAX_SIDE_PX,
    MIN_SIDE_PX,
    Avatar,
    Portraitist,
    RejectedError,
    read_selfie,
)
from portraitist.app.compositing import Finish, apply_finish
from portraitist.clean.decode import CleanPicture, check_dimensions
from portraitist.core.files import atomic_write
from portraitist.core.outcome import Status
from portraitist.core.types import MaskArray, Picture
from portraitist.crop.align import Crop
from portraitist.crop.geometry import NOSE, Face, Landmarks

VIDEO_SUFFIXES = (".mp4", ".mov", ".webm", ".gif")
SLOWEST_HZ = 0.7  # one-euro filter (Casiez, Roussel, Vogel, CHI 2012): cut-off of a face that stands still,
QUICKER = 4.0  # and how much it rises with speed, in Hz for each length from the eyes to the mouth a second
SPEED_HZ = 1.0  # cut-off of the speed itself
MASK_KEPT = 0.5  # of the last frame's mask
LOST_S = 0.5  # so long a face may hide, and its last place is painted
LONGEST_S = 120.0
Frames = Iterator[Picture]


@dataclass(frozen=True)
class Film:
    """A clip's frames as they come, and how many there are a second; of a GIF, how long each that has come stays."""

    per_second: float
    frames: Frames
    pauses_ms: list[int] = field(default_factory=list)


class Steady:
    """One-euro filter: still points do not tremble, and quick ones are not late."""

    def __init__(self, per_second: float) -> None:
        self.step_s = 1 / per_second
        self.value: Landmarks | None = None
        self.speed: Landmarks | None = None

    def __call__(self, points: Landmarks, length: float) -> Landmarks:
        """The points, smoothed; length is what speed is measured in."""
        if self.value is None or self.speed is None:
            self.value, self.speed = points, np.zeros_like(points)
            return points
        speed = (points - self.value) / self.step_s / length
        self.speed = self.speed + self._share(SPEED_HZ) * (speed - self.speed)
        fast = float(np.linalg.norm(self.speed, axis=1).mean())
        self.value = (self.value + self._share(SLOWEST_HZ + QUICKER * fast) * (points - self.value)).astype(np.float32)
        return self.value

    def _share(self, cutoff_hz: float) -> float:
        return 1 / (1 + 1 / (2 * np.pi * cutoff_hz * self.step_s))


class Follower:
    """One face through all frames: found anew in each, smoothed, cut, masked and painted."""

    def __init__(self, portraitist: Portraitist, per_second: float) -> None:
        self.portraitist, self.patience = portraitist, max(1, round(LOST_S * per_second))
        self.steady, self.lost = Steady(per_second), 0
        self.face: Face | None = None
        self.mask: MaskArray | None = None

    def __call__(self, frame: Picture) -> Avatar:
        """The avatar of one frame.

        Raises:
            RejectedError: The face was never seen, or not for LOST_S seconds.
        """
        cleaned = CleanPicture(frame, None)
        crop = self.portraitist.crop(cleaned, self._follow(cleaned))
        mask = self.portraitist.mask(crop)
        if self.mask is not None:
            mask = np.rint(MASK_KEPT * self.mask.astype(np.float32) + (1 - MASK_KEPT) * mask).astype(np.uint8)
        self.mask = mask
        return Avatar(self.portraitist.paint_squares([crop.square.picture], [mask])[0], mask, crop)

    def _follow(self, cleaned: CleanPicture) -> Face:
        made = self.portraitist.crops(cleaned)
        seen = [one.face for one in made if isinstance(one, Crop)]
        faults = [one for one in made if isinstance(one, RejectedError)]
        if not seen:
            self.lost += 1
            if self.face is None or self.lost > self.patience:
                raise faults[0]
            return self.face
        last, self.lost = self.face, 0
        found = seen[0] if last is None else min(seen, key=lambda one: _apart(one, last))
        if last is not None and _apart(found, last) > last.side_px:  # a cut: another shot, another face
            self.steady, self.mask = Steady(1 / self.steady.step_s), None
        self.face = replace(found, points=self.steady(found.points, found.side_px / 2))
        return self.face


def _apart(one: Face, other: Face) -> float:
    return float(np.linalg.norm(one.points[NOSE] - other.points[NOSE]))


def paint_video(portraitist: Portraitist, clip: Path, place: Path, look: Finish, force: bool = False) -> None:
    """Paint a clip into a file that ends in .mp4, .gif or .webp; it gets its name when it is whole. Sound is left out.

    Raises:
        FileExistsError: There is such a file, and force is not said.
        RejectedError: It is no clip, is too long, or shows no face; the message says from which second on.
        OSError: It cannot be read or written.
    """
    with atomic_write(place, overwrite=force) as partial:
        film = opened(clip)
        painted = _painted(Follower(portraitist, film.per_second), film, look)
        first = next(painted, None)
        if first is None:
            raise RejectedError(Status.UNREADABLE, "a clip without a frame")
        _write(first, painted, partial, film)


def _painted(follow: Follower, film: Film, look: Finish) -> Iterator[Image.Image]:
    at_s = 0.0
    for frame in film.frames:
        if at_s > LONGEST_S:
            raise RejectedError(Status.TOO_LARGE, f"longer than {LONGEST_S:g} s; cut it first")
        try:
            yield apply_finish(follow(frame), look)
        except RejectedError as error:
            raise RejectedError(error.status, f"at {at_s:.1f} s: {error}") from error
        at_s += film.pauses_ms[-1] / 1000 if film.pauses_ms else 1 / film.per_second


def opened(clip: Path) -> Film:
    """A clip, to be read frame by frame.

    Raises:
        RejectedError: It is none that opens.
        OSError: There is no such file.
    """
    with clip.open("rb") as file:
        if not file.read(1):
            raise RejectedError(Status.NOT_A_PICTURE, "an empty file")
    if clip.suffix.lower() == ".gif":
        try:
            with Image.open(clip, formats=["GIF"]) as gif:
                pause_ms = _pause_ms(gif)
        except Image.DecompressionBombError as error:
            raise RejectedError(Status.TOO_LARGE, str(error)) from error
        except Exception as error:  # Pillow's readers raise a dozen kinds at broken bytes
            raise RejectedError(Status.NOT_A_PICTURE, "not a clip that opens as GIF") from error
        pauses_ms: list[int] = []
        return Film(1000 / pause_ms, _gif_frames(clip, pauses_ms), pauses_ms)
    capture = cv2.VideoCapture(str(clip))
    if not capture.isOpened():
        raise RejectedError(Status.NOT_A_PICTURE, "not a clip that opens as MP4, MOV or WebM")
    per_second = capture.get(cv2.CAP_PROP_FPS)
    return Film(per_second if 1 <= per_second <= 240 else 25.0, _captured(capture))


def _gif_frames(clip: Path, pauses_ms: list[int]) -> Frames:
    try:
        with Image.open(clip, formats=["GIF"]) as gif:
            for frame in ImageSequence.Iterator(gif):
                check_dimensions(
                    frame, MAX_MEGAPIXELS, MIN_SIDE_PX
                )  # before it is decoded; a later frame may be larger
                pauses_ms.append(_pause_ms(frame))
                yield read_selfie(frame.convert("RGB")).picture
    except RejectedError:
        raise
    except Exception as error:  # as above; and no fault of the file that is written meanwhile
        raise RejectedError(Status.UNREADABLE, f"the clip is broken: {error or type(error).__name__}") from error


def _pause_ms(frame: Image.Image) -> int:
    """How long a GIF's frame stays: browsers, too, take none for a tenth of a second."""
    return max(round(float(frame.info.get("duration") or 100)), 20)


def _captured(capture: "cv2.VideoCapture") -> Frames:
    """OpenCV turns frames upright by itself."""
    try:
        while True:
            there, frame = capture.read()
            if not there:
                return
            scale = min(1.0, MAX_SIDE_PX / max(frame.shape))
            if scale < 1:
                frame = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    finally:
        capture.release()


def _write(first: Image.Image, rest: Iterator[Image.Image], place: Path, film: Film) -> None:
    """Frame by frame: a long clip needs no more memory than a short one."""
    if place.suffix.lower() == ".mp4":
        _write_mp4(chain([first], rest), place, film.per_second, first.size)
        return
    form = {".gif": "GIF", ".webp": "WEBP"}[place.suffix.lower()]
    how = {"disposal": 2} if form == "GIF" else {"quality": 90}
    steady_ms = round(1000 / film.per_second)
    pauses = film.pauses_ms or steady_ms  # that list grows as Pillow asks for frames
    first.save(place, form, save_all=True, append_images=rest, duration=pauses, loop=0, **how)


def _write_mp4(pictures: Iterator[Image.Image], place: Path, per_second: float, size: tuple[int, int]) -> None:
    place.touch()  # OpenCV does not say why it cannot write,
    writer = cv2.VideoWriter(str(place), cv2.VideoWriter.fourcc(*"mp4v"), per_second, size)
    if not writer.isOpened():
        raise OSError("this OpenCV writes no MP4")
    count = 0
    try:
        for picture in pictures:
            opaque = Image.new("RGB", size, "white")
            opaque.paste(picture, (0, 0), picture if picture.mode == "RGBA" else None)
            writer.write(cv2.cvtColor(np.array(opaque), cv2.COLOR_RGB2BGR))
            count += 1
    finally:
        writer.release()
    held = _count(cv2.VideoCapture(str(place)))
    if held < count:  # nor that it could not
        raise OSError(f"{held} of {count} frames are in it; is the disk full?")


def _count(capture: "cv2.VideoCapture") -> int:
    try:
        return sum(1 for _ in iter(capture.grab, False))
    finally:
        capture.release()
