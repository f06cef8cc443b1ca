"""Paint clips and GIFs frame by frame; crop and mask are smoothed over time so that they do not jitter."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageSequence

from portraitist.app.avatar import DEFAULT_SIZE_PX, Avatar, Portraitist, RejectedError
from portraitist.app.compositing import Finish, apply_finish
from portraitist.app.framing import Frame, upright_frame
from portraitist.app.selfie import MAX_MEGAPIXELS, MAX_SIDE_PX, MIN_SIDE_PX, read_selfie
from portraitist.clean.decode import CleanPicture, check_dimensions
from portraitist.core.files import atomic_write
from portraitist.core.outcome import Status
from portraitist.core.types import MaskArray, Picture
from portraitist.crop.align import Crop
from portraitist.crop.geometry import NOSE, Face, Landmarks

VIDEO_SUFFIXES = (".mp4", ".mov", ".webm", ".gif")
MIN_CUTOFF_HZ = 0.7  # one-euro filter (Casiez, Roussel, Vogel, CHI 2012): cut-off frequency for a face at rest
BETA = 4.0  # increase of the cut-off frequency with speed, in Hz per (face length per second)
SPEED_CUTOFF_HZ = 1.0  # cut-off frequency of the speed itself
MASK_MOMENTUM = 0.5  # weight of the previous frame's mask
MAX_LOST_S = 0.5  # time for which the last known face is painted when none is detected
MAX_DURATION_S = 120.0
Frames = Iterator[Picture]


@dataclass(frozen=True)
class Clip:
    """A clip's frames and frame rate; for a GIF, also the duration of each frame read so far."""

    fps: float
    frames: Frames
    durations_ms: list[int] = field(default_factory=list)


class OneEuroFilter:
    """One-euro filter on landmarks: points at rest do not jitter, and fast ones do not lag."""

    def __init__(self, fps: float) -> None:
        self.step_s = 1 / fps
        self.value: Landmarks | None = None
        self.speed: Landmarks | None = None

    def __call__(self, points: Landmarks, length: float) -> Landmarks:
        """Return the smoothed points; speed is measured in face lengths (`length`, in pixels) per second."""
        if self.value is None or self.speed is None:
            self.value, self.speed = points, np.zeros_like(points)
            return points
        speed = (points - self.value) / self.step_s / length
        self.speed = self.speed + self._alpha(SPEED_CUTOFF_HZ) * (speed - self.speed)
        mean_speed = float(np.linalg.norm(self.speed, axis=1).mean())
        alpha = self._alpha(MIN_CUTOFF_HZ + BETA * mean_speed)
        self.value = (self.value + alpha * (points - self.value)).astype(np.float32)
        return self.value

    def _alpha(self, cutoff_hz: float) -> float:
        return 1 / (1 + 1 / (2 * np.pi * cutoff_hz * self.step_s))


class FaceTracker:
    """Detect, smooth, crop, segment and paint one face in successive frames."""

    def __init__(self, portraitist: Portraitist, fps: float, size_px: int = DEFAULT_SIZE_PX) -> None:
        self.portraitist, self.size_px = portraitist, size_px
        self.max_lost_frames = max(1, round(MAX_LOST_S * fps))
        self.smooth, self.smooth_frame, self.lost_frames = OneEuroFilter(fps), OneEuroFilter(fps), 0
        self.face: Face | None = None
        self.mask: MaskArray | None = None

    def __call__(self, frame: Picture) -> Avatar:
        """Return the avatar of a frame.

        Raises:
            RejectedError: no face has been detected yet, or none for more than MAX_LOST_S seconds.
        """
        cleaned = CleanPicture(frame, None)
        crop = self.portraitist.crop(cleaned, self._track(cleaned))
        mask = self.portraitist.person(cleaned, crop)
        if self.mask is not None:
            previous = self.mask.astype(np.float32)
            mask = np.rint(MASK_MOMENTUM * previous + (1 - MASK_MOMENTUM) * mask).astype(np.uint8)
        self.mask = mask
        return self.portraitist.paint_frame(cleaned, crop, mask, self._steady_frame(crop, mask), self.size_px)

    def _steady_frame(self, crop: Crop, mask: MaskArray) -> Frame:
        """Return the best frame around the face, smoothed over time as a square of two corners."""
        frame = upright_frame(crop, mask)
        centre, half = np.array(frame.centre), frame.side / 2
        corners = self.smooth_frame(np.stack([centre - half, centre + half]).astype(np.float32), frame.side)
        middle, side = corners.mean(axis=0), float(corners[1, 0] - corners[0, 0])
        return replace(frame, centre=(float(middle[0]), float(middle[1])), side=side)

    def _track(self, cleaned: CleanPicture) -> Face:
        results = self.portraitist.crops(cleaned)
        faces = [result.face for result in results if isinstance(result, Crop)]
        rejected = [result for result in results if isinstance(result, RejectedError)]
        if not faces:
            self.lost_frames += 1
            if self.face is None or self.lost_frames > self.max_lost_frames:
                raise rejected[0]
            return self.face
        previous, self.lost_frames = self.face, 0
        face = faces[0] if previous is None else min(faces, key=lambda face: _distance(face, previous))
        if previous is not None and _distance(face, previous) > previous.side_px:  # the clip was cut to another shot
            self.smooth, self.smooth_frame = (OneEuroFilter(1 / self.smooth.step_s) for _ in range(2))
            self.mask = None
        self.face = replace(face, points=self.smooth(face.points, face.side_px / 2))
        return self.face


def _distance(a: Face, b: Face) -> float:
    return float(np.linalg.norm(a.points[NOSE] - b.points[NOSE]))


def paint_video(portraitist: Portraitist, path: Path, output: Path, finish: Finish, force: bool = False) -> None:
    """Paint a clip into a .mp4, .gif or .webp file, written atomically. Sound is dropped.

    Raises:
        FileExistsError: the output exists and `force` is False.
        RejectedError: the file is not a clip, is too long, or has no face; the message gives the time in the clip.
        OSError: a file cannot be read or written.
    """
    with atomic_write(output, overwrite=force) as partial:
        clip = open_clip(path)
        painted = _paint_frames(FaceTracker(portraitist, clip.fps, finish.size_px or DEFAULT_SIZE_PX), clip, finish)
        first = next(painted, None)
        if first is None:
            raise RejectedError(Status.UNREADABLE, "the clip has no frames")
        _write(first, painted, partial, clip)


def _paint_frames(tracker: FaceTracker, clip: Clip, finish: Finish) -> Iterator[Image.Image]:
    time_s = 0.0
    for frame in clip.frames:
        if time_s > MAX_DURATION_S:
            raise RejectedError(Status.TOO_LARGE, f"the clip is longer than {MAX_DURATION_S:g} s; cut it first")
        try:
            yield apply_finish(tracker(frame), finish)
        except RejectedError as error:
            raise RejectedError(error.status, f"at {time_s:.1f} s: {error}") from error
        time_s += clip.durations_ms[-1] / 1000 if clip.durations_ms else 1 / clip.fps


def open_clip(path: Path) -> Clip:
    """Open a clip; its frames are decoded one by one.

    Raises:
        RejectedError: the file cannot be decoded.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        if not file.read(1):
            raise RejectedError(Status.NOT_A_PICTURE, "the file is empty")
    if path.suffix.lower() == ".gif":
        try:
            with Image.open(path, formats=["GIF"]) as gif:
                duration_ms = _duration_ms(gif)
        except Image.DecompressionBombError as error:
            raise RejectedError(Status.TOO_LARGE, str(error)) from error
        except Exception as error:  # Pillow's readers raise a dozen kinds of exceptions
            raise RejectedError(Status.NOT_A_PICTURE, "not a readable GIF") from error
        durations_ms: list[int] = []
        return Clip(1000 / duration_ms, _gif_frames(path, durations_ms), durations_ms)
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise RejectedError(Status.NOT_A_PICTURE, "not a readable MP4, MOV or WebM")
    fps = capture.get(cv2.CAP_PROP_FPS)
    return Clip(fps if 1 <= fps <= 240 else 25.0, _video_frames(capture))


def _gif_frames(path: Path, durations_ms: list[int]) -> Frames:
    try:
        with Image.open(path, formats=["GIF"]) as gif:
            for frame in ImageSequence.Iterator(gif):
                # check each frame before decoding it: a later one may be larger
                check_dimensions(frame, MAX_MEGAPIXELS, MIN_SIDE_PX)
                durations_ms.append(_duration_ms(frame))
                yield read_selfie(frame.convert("RGB")).picture
    except RejectedError:
        raise
    except Exception as error:  # many types, as above; an OSError here concerns the clip, not the output
        raise RejectedError(Status.UNREADABLE, f"the clip is damaged: {error or type(error).__name__}") from error


def _duration_ms(frame: Image.Image) -> int:
    """Return how long a GIF's frame is shown; as in browsers, a missing duration means 100 ms."""
    duration_ms = float(frame.info.get("duration") or 100)
    return max(round(duration_ms), 20)


def _video_frames(capture: "cv2.VideoCapture") -> Frames:
    """Yield RGB frames; OpenCV applies the rotation in the file's metadata."""
    try:
        while True:
            ok, frame = capture.read()
            if not ok:
                return
            scale = min(1.0, MAX_SIDE_PX / max(frame.shape))
            if scale < 1:
                frame = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    finally:
        capture.release()


def _write(first: Image.Image, rest: Iterator[Image.Image], output: Path, clip: Clip) -> None:
    """Write frame by frame, so that memory does not grow with the clip's length."""
    if output.suffix.lower() == ".mp4":
        _write_mp4(chain([first], rest), output, clip.fps, first.size)
        return
    form = {".gif": "GIF", ".webp": "WEBP"}[output.suffix.lower()]
    options = {"disposal": 2} if form == "GIF" else {"quality": 90}
    frame_ms = round(1000 / clip.fps)
    durations = clip.durations_ms or frame_ms  # the list grows while Pillow reads frames
    first.save(output, form, save_all=True, append_images=rest, duration=durations, loop=0, **options)


def _write_mp4(pictures: Iterator[Image.Image], output: Path, fps: float, size: tuple[int, int]) -> None:
    output.touch()  # raises an OSError with the reason; OpenCV only returns False
    writer = cv2.VideoWriter(str(output), cv2.VideoWriter.fourcc(*"mp4v"), fps, size)
    if not writer.isOpened():
        raise OSError("this OpenCV build cannot write MP4")
    count = 0
    try:
        for picture in pictures:
            opaque = Image.new("RGB", size, "white")
            opaque.paste(picture, (0, 0), picture if picture.mode == "RGBA" else None)
            writer.write(cv2.cvtColor(np.array(opaque), cv2.COLOR_RGB2BGR))
            count += 1
    finally:
        writer.release()
    written = _count_frames(cv2.VideoCapture(str(output)))
    if written < count:  # OpenCV does not report failed writes
        raise OSError(f"only {written} of {count} frames were written; is the disk full?")


def _count_frames(capture: "cv2.VideoCapture") -> int:
    try:
        return sum(1 for _ in iter(capture.grab, False))
    finally:
        capture.release()
