"""Paint clips and GIFs. The crop and the mask of the face are smoothed over time, so that they do not jitter."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np

from portraitist.app.avatar import DEFAULT_SIZE_PX, Avatar, Portraitist, RejectedError
from portraitist.app.clip_files import Clip, PaintedFrame, open_clip, write_clip
from portraitist.app.compositing import Finish, apply_finish
from portraitist.app.framing import Frame, upright_frame
from portraitist.app.styles import Style, StyleOptions
from portraitist.clean.decode import CleanPicture
from portraitist.core.files import atomic_write
from portraitist.core.outcome import Status
from portraitist.core.types import MaskArray, Picture
from portraitist.crop.align import Crop
from portraitist.crop.geometry import NOSE, Face, Landmarks

MIN_CUTOFF_HZ = 0.7  # cut-off frequency of the one-euro filter for a face at rest
BETA = 4.0  # increase of the cut-off frequency with the speed, in Hz per (face length per second)
SPEED_CUTOFF_HZ = 1.0  # cut-off frequency of the speed itself
MASK_MOMENTUM = 0.5  # weight of the previous mask in the moving average
MAX_LOST_S = 0.5  # if no face is detected, the last one is used for at most this time
MAX_DURATION_S = 120.0  # of a clip


class StoppedError(Exception):
    """Painting a clip was stopped; nothing was written."""


class OneEuroFilter:
    """One-euro filter on landmarks (Casiez, Roussel, Vogel, CHI 2012).

    Points at rest are smoothed strongly, so that they do not jitter. Fast points are smoothed little, so that they do
    not lag behind.
    """

    def __init__(self, fps: float) -> None:
        self.step_s = 1 / fps
        self.value: Landmarks | None = None
        self.speed: Landmarks | None = None

    def __call__(self, points: Landmarks, length: float) -> Landmarks:
        """Return the smoothed points of the next frame.

        Args:
            points: landmarks in pixels.
            length: length of the face in pixels. Speeds are divided by it, so that they do not depend on the face's
                size in the picture.
        """
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
    """Follow one face through the frames of a clip, and paint it."""

    def __init__(
        self, portraitist: Portraitist, fps: float, size_px: int = DEFAULT_SIZE_PX, style: Style | None = None
    ) -> None:
        self.portraitist, self.size_px, self.style = portraitist, size_px, style
        self.max_lost_frames = max(1, round(MAX_LOST_S * fps))
        self.smooth, self.smooth_frame, self.lost_frames = OneEuroFilter(fps), OneEuroFilter(fps), 0
        self.face: Face | None = None
        self.mask: MaskArray | None = None

    def __call__(self, picture: Picture) -> Avatar:
        """Return the avatar of the next frame.

        If no face is found in a frame, the last face that was found is used, for at most `MAX_LOST_S` seconds.

        Raises:
            RejectedError: no face is found, and there is no earlier face that may be used; the smoothed face is too
                small, or too much of its crop lies outside the picture; or the person covers too little of the crop.
        """
        cleaned = CleanPicture(picture, None)
        crop = self.portraitist.crop(cleaned, self._track(cleaned))
        mask = self.portraitist.person(cleaned, crop)
        if self.mask is not None:
            previous = self.mask.astype(np.float32)
            mask = np.rint(MASK_MOMENTUM * previous + (1 - MASK_MOMENTUM) * mask).astype(np.uint8)
        self.mask = mask
        frame = self._steady_frame(crop, mask)
        return self.portraitist.paint_frame(cleaned, crop, mask, frame, self.size_px, self.style)

    def _steady_frame(self, crop: Crop, mask: MaskArray) -> Frame:
        """Return the best frame around the face, with position and side smoothed over time."""
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
        if previous is not None and _distance(face, previous) > previous.side_px:  # the face has jumped: a new shot
            self.smooth, self.smooth_frame = (OneEuroFilter(1 / self.smooth.step_s) for _ in range(2))
            self.mask = None
        self.face = replace(face, points=self.smooth(face.points, face.side_px / 2))
        return self.face


def _distance(a: Face, b: Face) -> float:
    return float(np.linalg.norm(a.points[NOSE] - b.points[NOSE]))


def paint_video(
    portraitist: Portraitist,
    path: Path,
    output: Path,
    finish: Finish,
    force: bool = False,
    style: StyleOptions | None = None,
    stop: Event | None = None,
) -> None:
    """Paint a clip to a .mp4 (with the clip's sound), .gif or .webp file, which is written atomically.

    If another thread sets `stop`, painting ends before the next frame, and nothing is written.

    Raises:
        StoppedError: `stop` was set.
        FileExistsError: the output exists and `force` is False.
        RejectedError: the file is not a clip; the clip is longer than `MAX_DURATION_S`; or `FaceTracker` rejects a
            frame. If a frame is rejected, the message contains the time of the frame in the clip.
        OSError: a file cannot be read or written.
        ModuleNotFoundError: PyAV, which reads and writes videos, is missing.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(output, overwrite=force) as partial:
        clip = open_clip(path)
        tracker = FaceTracker(
            portraitist, clip.fps, finish.size_px or DEFAULT_SIZE_PX, portraitist.read_style(style or StyleOptions())
        )
        write_clip(_paint_frames(tracker, clip, finish, stop or Event()), partial, clip)


def _paint_frames(tracker: FaceTracker, clip: Clip, finish: Finish, stop: Event) -> Iterator[PaintedFrame]:
    first_s: float | None = None
    for frame in clip.frames:
        if stop.is_set():
            raise StoppedError
        first_s = frame.start_s if first_s is None else first_s
        time_s = frame.start_s - first_s
        if time_s > MAX_DURATION_S:
            raise RejectedError(Status.TOO_LARGE, f"the clip is longer than {MAX_DURATION_S:g} s; cut it first")
        try:
            yield PaintedFrame(apply_finish(tracker(frame.picture), finish), frame.start_s, frame.duration_s)
        except RejectedError as error:
            raise RejectedError(error.status, f"at {time_s:.1f} s: {error}") from error
