"""Read and write clips: MP4, MOV, 3GP, WebM and MKV with PyAV (extra `video`), GIF and animated WebP with Pillow."""

import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageSequence

from portraitist.app.selfie import MAX_MEGAPIXELS, MAX_SIDE_PX, MIN_SIDE_PX, read_selfie
from portraitist.clean.decode import RejectedError, check_dimensions
from portraitist.core.outcome import Status
from portraitist.core.types import Picture

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".3gp", ".webm", ".mkv", ".gif")
VIDEO_OUTPUT_SUFFIXES = (".gif", ".mp4", ".webp")
CRF = 20  # constant rate factor of x264; 18 is visually lossless, 23 is the default
TICKS_PER_S = 90_000  # ticks per second in an .mp4: a multiple of all common frame rates
COPIED_SOUND = ("aac", "mp3")  # codecs that every browser plays in an .mp4; others are encoded as AAC
AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)  # samples per second
DEFAULT_FPS = 25.0  # frame rate of files that state none
EBML = b"\x1aE\xdf\xa3"  # the first bytes of Matroska and WebM files


class ClipFrame(NamedTuple):
    """A frame of a clip, and its start and duration in seconds."""

    picture: Picture
    start_s: float
    duration_s: float


class PaintedFrame(NamedTuple):
    """A painted frame, and its start and duration in seconds."""

    image: Image.Image
    start_s: float
    duration_s: float


@dataclass(frozen=True)
class Clip:
    """A clip. Frames are decoded one by one while `frames` is iterated; `fps` is their average number per second."""

    path: Path
    fps: float
    frames: Iterator[ClipFrame]


def needs_pyav(clip: Path, output: Path) -> bool:
    """Return whether PyAV is needed to read the clip or to write the output."""
    return clip.suffix.lower() != ".gif" or output.suffix.lower() == ".mp4"


def require_pyav() -> None:
    """Check that PyAV is installed.

    Raises:
        ModuleNotFoundError: PyAV is missing.
    """
    import av  # noqa: F401


def open_clip(path: Path) -> Clip:
    """Open a clip.

    Raises:
        RejectedError: the file cannot be decoded.
        OSError: the file cannot be read.
        ModuleNotFoundError: PyAV is missing.
    """
    with path.open("rb") as file:
        if not file.read(1):
            raise RejectedError(Status.NOT_A_PICTURE, "the file is empty")
    return _open_gif(path) if path.suffix.lower() == ".gif" else _open_video(path)


def write_clip(painted: Iterator[PaintedFrame], output: Path, clip: Clip) -> None:
    """Write painted frames one by one, so that memory does not grow with the clip's length.

    Args:
        painted: the frames, all of one size.
        output: an .mp4 file (H.264 with the clip's sound), a .gif or a .webp file.
        clip: the clip that was painted; its sound is copied.

    Raises:
        RejectedError: there are no frames.
        OSError: the file cannot be written.
    """
    first = next(painted, None)
    if first is None:
        raise RejectedError(Status.UNREADABLE, "the clip has no frames")
    if output.suffix.lower() == ".mp4":
        _write_mp4(chain([first], painted), output, clip, first.image.size)
    else:
        _write_animation(chain([first], painted), output)


def _open_gif(path: Path) -> Clip:
    try:
        with Image.open(path, formats=["GIF"]) as gif:
            duration_s = _duration_s(gif)
    except Image.DecompressionBombError as error:
        raise RejectedError(Status.TOO_LARGE, str(error)) from error
    except Exception as error:  # Pillow's readers raise a dozen kinds of exceptions
        raise RejectedError(Status.NOT_A_PICTURE, "not a readable GIF") from error
    return Clip(path, 1 / duration_s, _gif_frames(path))


def _gif_frames(path: Path) -> Iterator[ClipFrame]:
    start_s = 0.0
    try:
        with Image.open(path, formats=["GIF"]) as gif:
            for frame in ImageSequence.Iterator(gif):
                # check each frame before decoding it, because a later one may be larger
                check_dimensions(frame, MAX_MEGAPIXELS, MIN_SIDE_PX)
                duration_s = _duration_s(frame)
                yield ClipFrame(read_selfie(frame.convert("RGB")).picture, start_s, duration_s)
                start_s += duration_s
    except RejectedError:
        raise
    except Exception as error:  # as in `_open_gif`; an OSError here is about the clip, not about the output
        raise _damaged(error) from error


def _damaged(error: Exception) -> RejectedError:
    return RejectedError(Status.UNREADABLE, f"the clip is damaged: {error or type(error).__name__}")


def _duration_s(frame: Image.Image) -> float:
    """Return the duration of a GIF's frame in seconds.

    As in browsers, the result is at least .02 s, and .1 s if the file states no duration.
    """
    return max(round(float(frame.info.get("duration") or 100)), 20) / 1000


def _open_video(path: Path) -> Clip:
    container = _open_container(path)
    if not container.streams.video:
        container.close()
        raise RejectedError(Status.NOT_A_PICTURE, "the file has no video stream")
    stream = container.streams.video[0]
    rate = float(stream.average_rate or DEFAULT_FPS)
    fps = rate if 1 <= rate <= 240 else DEFAULT_FPS
    if stream.width * stream.height > MAX_MEGAPIXELS * 1e6:
        container.close()
        raise RejectedError(
            Status.TOO_LARGE, f"frames of {stream.width} x {stream.height} px exceed {MAX_MEGAPIXELS:g} megapixels"
        )
    return Clip(path, fps, _video_frames(container, fps))


def _open_container(path: Path) -> Any:
    """Open a file with FFmpeg's reader for Matroska or MP4.

    FFmpeg must not choose the reader by the file's content: it could choose a reader for playlists, and such a reader
    opens other files and addresses.
    """
    import av

    with path.open("rb") as file:
        form = "matroska" if file.read(len(EBML)) == EBML else "mov"
    try:
        return av.open(f"file:{path}", format=form)
    except (av.FFmpegError, ValueError) as error:
        raise RejectedError(Status.NOT_A_PICTURE, "not a readable MP4, MOV, 3GP, WebM or MKV") from error


def _video_frames(container: Any, fps: float) -> Iterator[ClipFrame]:
    """Yield upright RGB frames, scaled down to at most MAX_SIDE_PX per side; each frame lasts until the next starts."""
    import av

    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    waiting: ClipFrame | None = None
    with closing(container):
        try:
            for number, frame in enumerate(container.decode(stream)):
                start_s = frame.time if frame.time is not None else number / fps
                if waiting and start_s > waiting.start_s:
                    yield waiting._replace(duration_s=start_s - waiting.start_s)
                elif waiting:  # both frames have the same start: the first one is never visible
                    start_s = waiting.start_s
                own_s = float(frame.duration * frame.time_base) if frame.duration else 1 / fps
                waiting = ClipFrame(_upright(frame), start_s, own_s)
        except (av.FFmpegError, MemoryError) as error:
            raise _damaged(error) from error
    if waiting:
        yield waiting


def _upright(frame: Any) -> Picture:
    """Return a frame's RGB pixels, scaled down to MAX_SIDE_PX, and rotated as the file's metadata specifies."""
    pixels = frame.to_ndarray(format="rgb24")
    scale = min(1.0, MAX_SIDE_PX / max(pixels.shape))
    if scale < 1:
        pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))


def _write_animation(painted: Iterator[PaintedFrame], output: Path) -> None:
    form, unit_ms = ("GIF", 10) if output.suffix.lower() == ".gif" else ("WEBP", 1)
    options: dict[str, Any] = {"disposal": 2} if form == "GIF" else {"quality": 90}
    durations_ms: list[int] = []  # filled while Pillow iterates over the images

    def images() -> Iterator[Image.Image]:
        for image, start_s, duration_s in painted:
            start, end = (round(time_s * 1000 / unit_ms) * unit_ms for time_s in (start_s, start_s + duration_s))
            durations_ms.append(max(end - start, unit_ms))
            yield image

    frames = images()
    next(frames).save(output, form, save_all=True, append_images=frames, duration=durations_ms, loop=0, **options)


def _write_mp4(painted: Iterator[PaintedFrame], output: Path, clip: Clip, size: tuple[int, int]) -> None:
    """Write H.264 with the clip's sound. The index comes first, so that browsers play the file while it loads."""
    import av

    output.touch()  # if it cannot be written: an OSError with the reason and the file's name
    try:
        with av.open(f"file:{output}", "w", format="mp4", options={"movflags": "+faststart"}) as container:
            stream = _video_stream(container, size, clip.fps)
            with closing(_Sound(clip.path, container)) as sound:
                for image, start_s, duration_s in _with_long_end(painted, 1 / clip.fps):
                    frame = av.VideoFrame.from_ndarray(_opaque(image), format="rgb24")
                    frame.time_base = Fraction(1, TICKS_PER_S)
                    frame.pts, frame.duration = round(start_s * TICKS_PER_S), round(duration_s * TICKS_PER_S)
                    container.mux(stream.encode(frame))
                    sound.copy_until(start_s + duration_s)
                container.mux(stream.encode(None))
                sound.copy_until(math.inf)
    except av.FFmpegError as error:
        raise OSError(error.errno, error.strerror, str(output)) from error


def _with_long_end(painted: Iterator[PaintedFrame], usual_s: float) -> Iterator[PaintedFrame]:
    """Repeat the last frame if it lasts longer than `usual_s` seconds, the time for which players show the last one."""
    last: PaintedFrame | None = None
    for last in painted:
        yield last
    if last and round((last.duration_s - usual_s) * TICKS_PER_S) > 0:
        yield PaintedFrame(last.image, last.start_s + last.duration_s - usual_s, usual_s)


def _video_stream(container: Any, size: tuple[int, int], fps: float) -> Any:
    # without B-frames ("bf"): they are stored in another order, and the file's duration would be wrong for GIFs
    options = {"crf": str(CRF), "bf": "0"}
    stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options=options)
    stream.width, stream.height = (side - side % 2 for side in size)
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = Fraction(1, TICKS_PER_S)
    return stream


def _opaque(image: Image.Image) -> Picture:
    """Return an image's RGB pixels, composited over white.

    An odd height or width is cropped by one pixel, because H.264 stores colours at half the resolution.
    """
    opaque = Image.new("RGB", image.size, "white")
    opaque.paste(image, (0, 0), image if image.mode == "RGBA" else None)
    height, width = (side - side % 2 for side in image.size[::-1])
    return np.ascontiguousarray(np.asarray(opaque)[:height, :width])


class _Sound:
    """Copy the sound of a clip into the output file; sound that browsers cannot play is encoded as AAC."""

    def __init__(self, path: Path, output: Any) -> None:
        self.output, self.source = output, None if path.suffix.lower() == ".gif" else _open_container(path)
        streams = self.source.streams.audio if self.source else ()
        self.stream = next((stream for stream in streams if stream.codec_context is not None), None)
        self.packets = iter(()) if self.stream is None else self._packets(self.source, self.stream)
        self.waiting = next(self.packets, None)

    def copy_until(self, time_s: float) -> None:
        """Write the packets of sound that start before `time_s`."""
        while self.waiting is not None and float(self.waiting.pts * self.waiting.time_base) < time_s:
            self.output.mux(self.waiting)
            self.waiting = next(self.packets, None)

    def close(self) -> None:
        """Close the clip."""
        if self.source:
            self.source.close()

    def _packets(self, source: Any, stream: Any) -> Iterator[Any]:
        import av

        try:
            if stream.codec_context.codec.canonical_name in COPIED_SOUND:
                copy = self.output.add_stream_from_template(stream)
                for packet in source.demux(stream):
                    if packet.pts is not None:  # the last packet is empty
                        packet.stream = copy
                        yield packet
                return
            rate = min(AAC_RATES, key=lambda rate: abs(rate - stream.rate))
            encoder = self.output.add_stream("aac", rate=rate)
            for frame in source.decode(stream):
                yield from encoder.encode(frame)
            yield from encoder.encode(None)
        except av.FFmpegError as error:
            raise _damaged(error) from error
