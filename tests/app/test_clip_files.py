"""Reading and writing clips, without painting."""

import errno
import re
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from app_helpers import write_video
from PIL import Image, ImageSequence

from portraitist.app import clip_files
from portraitist.app.avatar import RejectedError
from portraitist.app.clip_files import PaintedFrame, open_clip, write_clip
from portraitist.core.files import atomic_write

TIMES_MS = [0, 100, 150, 400, 1000]  # milliseconds; the frame rate varies, as in videos of phones
UPRIGHT = (1, 0, 0, 1)


def frames(count, size=(64, 48)):
    """Return grey frames that become brighter by the same step, with red at the top left."""
    pictures = [np.full((size[1], size[0], 3), 20 + 10 * number, np.uint8) for number in range(count)]
    for picture in pictures:
        picture[: size[1] // 2, : size[0] // 2] = (200, 30, 30)
    return pictures


def copy_clip(source, output):
    """Write the frames of a clip unchanged, in the same way as `paint_video` writes painted ones."""
    clip = open_clip(source)
    painted = (PaintedFrame(Image.fromarray(frame.picture), *frame[1:]) for frame in clip.frames)
    with atomic_write(output) as partial:
        write_clip(painted, partial, clip)
    return output


def streams(path):
    with av.open(str(path)) as container:
        return {
            stream.type: (stream.codec_context.name, float(stream.duration * stream.time_base))
            for stream in container.streams
        }


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("clips") / "clip.mp4", frames(5), sound="aac", times_ms=TIMES_MS)


def test_mp4_is_h264_for_browsers(clip, tmp_path):
    copied = copy_clip(clip, tmp_path / "a.mp4")
    with av.open(str(copied)) as container:
        video = container.streams.video[0]
        assert (video.codec_context.name, video.codec_context.pix_fmt) == ("h264", "yuv420p")
    data = copied.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")  # the index comes first


@pytest.mark.parametrize(
    ("name", "codec", "sound", "is_copied"),
    [
        ("a.mp4", "libx264", "aac", True),
        ("a.webm", "libvpx", "libopus", False),
        ("a.mov", "libx264", "pcm_s16le", False),
        ("a.m4v", "libx264", "aac", True),
        ("b.mp4", "libx264", "libmp3lame", True),
        ("a.3gp", "libx264", "aac", True),
        ("a.mkv", "libx264", "aac", True),
    ],
)
def test_sound_is_kept_in_sync(tmp_path, name, codec, sound, is_copied):
    source = write_video(tmp_path / name, frames(20), codec, sound)
    copied = copy_clip(source, tmp_path / "out.mp4")
    found = streams(copied)
    assert set(found) == {"video", "audio"}
    assert found["audio"] == ("mp3float" if sound == "libmp3lame" else "aac", pytest.approx(2, abs=0.05))
    assert found["video"][1] == pytest.approx(2, abs=0.05)
    assert np.abs(tone_of(copied) - tone_of(source)).max() < 3  # Hz
    packets = [audio_packets(path) for path in (source, copied)]
    assert (packets[0] == packets[1]) == is_copied


def audio_packets(path):
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def tone_of(path):
    """Return the loudest frequency of each half second, in Hz."""
    with av.open(str(path)) as container:
        decoded = [frame.to_ndarray()[0].astype(float) for frame in container.decode(audio=0)]
    samples = np.concatenate(decoded)[:72_000].reshape(3, -1)
    return np.abs(np.fft.rfft(samples)).argmax(axis=1) * 2


@pytest.mark.parametrize("rate", [192_000, 12_345])
def test_sound_of_any_rate_is_converted(tmp_path, rate):
    source = write_video(tmp_path / "a.mkv", frames(10), sound="pcm_s16le", sound_rate=rate)
    assert streams(copy_clip(source, tmp_path / "b.mp4"))["audio"] == ("aac", pytest.approx(1, abs=0.1))


def test_sound_after_the_last_frame_is_kept(tmp_path):
    source = write_video(tmp_path / "a.mp4", frames(10), sound="aac", times_ms=[10 * number for number in range(10)])
    assert streams(source)["audio"][1] == pytest.approx(1, abs=0.1)
    assert streams(copy_clip(source, tmp_path / "b.mp4"))["audio"] == ("aac", pytest.approx(1, abs=0.1))


def test_of_frames_with_the_same_time_only_the_last_is_shown(tmp_path):
    source = write_video(tmp_path / "a.mkv", frames(4), times_ms=[0, 100, 100, 300])
    copied = list(open_clip(copy_clip(source, tmp_path / "b.mp4")).frames)
    assert [round(1000 * frame.start_s) for frame in copied] == [0, 100, 300]
    grey = [frame.picture[-1, -1].mean() for frame in copied]
    assert grey == pytest.approx([20, 40, 50], abs=4)


def test_silent_clip_stays_silent(tmp_path):
    source = write_video(tmp_path / "a.mp4", frames(3))
    assert set(streams(copy_clip(source, tmp_path / "b.mp4"))) == {"video"}


def test_varying_frame_times_are_kept(clip, tmp_path):
    copied = open_clip(copy_clip(clip, tmp_path / "a.mp4"))
    assert [round(1000 * frame.start_s) for frame in copied.frames] == TIMES_MS
    with Image.open(copy_clip(clip, tmp_path / "a.webp")) as animation:
        durations = [each.copy().info["duration"] for each in ImageSequence.Iterator(animation)]
    assert durations[:4] == [100, 50, 250, 600]


def test_gif_keeps_the_speed_of_the_clip(tmp_path):
    times_ms = [round(1000 * number / 30) for number in range(31)]  # a GIF stores times in hundredths of a second
    source = write_video(tmp_path / "a.mp4", (frames(16) * 2)[:31], times_ms=times_ms)
    with Image.open(copy_clip(source, tmp_path / "a.gif")) as animation:
        durations = [each.info["duration"] for each in ImageSequence.Iterator(animation)]
    assert sum(durations[:30]) == 1000


def test_gif_becomes_an_mp4_of_the_same_speed(tmp_path):
    first, *rest = (Image.fromarray(frame) for frame in frames(3))
    first.save(tmp_path / "a.gif", save_all=True, append_images=rest, duration=[50, 300, 40])
    copied = open_clip(copy_clip(tmp_path / "a.gif", tmp_path / "a.mp4"))
    shown = [(round(1000 * frame.start_s), int(frame.picture[-1, -1, 0])) for frame in copied.frames]
    assert [start for start, _ in shown] == [0, 50, 350]
    assert [grey for _, grey in shown] == pytest.approx([20, 30, 40], abs=4)


@pytest.mark.parametrize(
    ("matrix", "red"), [(UPRIGHT, (0, 0)), ((0, 1, -1, 0), (0, 1)), ((-1, 0, 0, -1), (1, 1)), ((0, -1, 1, 0), (1, 0))]
)
def test_sideways_clip_is_turned_upright(clip, tmp_path, matrix, red):
    """A phone that is held upright records sideways frames, and stores the rotation as a matrix of the track."""
    a, b, c, d = (65536 * value for value in matrix)
    data = clip.read_bytes()
    upright = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
    at = data.index(b"tkhd")
    rotated = data[:at] + data[at:].replace(upright, struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30), 1)
    (tmp_path / "a.mp4").write_bytes(rotated)
    picture = next(open_clip(tmp_path / "a.mp4").frames).picture
    assert picture.shape == ((48, 64, 3) if matrix[0] else (64, 48, 3))
    corners = picture[[[2], [-3]], [2, -3]].astype(int)
    assert np.argwhere(corners[..., 0] - corners[..., 1] > 80).tolist() == [list(red)]


def test_large_frames_are_scaled_down(tmp_path, monkeypatch):
    monkeypatch.setattr(clip_files, "MAX_SIDE_PX", 32)
    source = write_video(tmp_path / "a.mp4", frames(2))
    assert [frame.picture.shape for frame in open_clip(source).frames] == [(24, 32, 3)] * 2
    monkeypatch.setattr(clip_files, "MAX_MEGAPIXELS", 0.003)
    with pytest.raises(RejectedError, match="64 x 48 px exceed"):
        open_clip(source)


def test_odd_sizes_and_transparency_are_written(tmp_path):
    source = write_video(tmp_path / "a.mp4", frames(2))
    clip = open_clip(source)
    painted = [PaintedFrame(Image.new("RGBA", (65, 33), (255, 0, 0, 0)), 0.1 * number, 0.1) for number in range(2)]
    write_clip(iter(painted), tmp_path / "b.mp4", clip)
    first = next(open_clip(tmp_path / "b.mp4").frames)
    assert first.picture.shape == (32, 64, 3)
    assert first.picture.min() > 250


def test_playlist_named_as_a_clip_opens_no_other_file(clip, tmp_path):
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:2", "#EXTINF:2,", str(clip), "#EXT-X-ENDLIST"]
    for name in ("list.mp4", "list.mov", "list.webm"):
        (tmp_path / name).write_text("\n".join(lines), encoding="utf-8")
        with pytest.raises(RejectedError, match="not a readable MP4"):
            open_clip(tmp_path / name)


def test_truncated_clip_is_rejected(clip, tmp_path):
    data = clip.read_bytes()
    assert data.index(b"mdat") < data.index(b"moov")  # the index is at the end
    (tmp_path / "a.mp4").write_bytes(data[: len(data) // 2])
    with pytest.raises(RejectedError, match="not a readable MP4"):
        open_clip(tmp_path / "a.mp4")


def test_file_without_video_is_rejected(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        audio = container.add_stream("aac", rate=48000, layout="mono")
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.int16), format="s16", layout="mono")
        samples.rate, samples.pts, samples.time_base = 48000, 0, Fraction(1, 48000)
        container.mux(audio.encode(samples))
        container.mux(audio.encode(None))
    with pytest.raises(RejectedError, match="no video stream"):
        open_clip(tmp_path / "a.mp4")


def test_failed_write_names_the_output(clip, tmp_path, monkeypatch):
    def full(*_):
        raise av.FFmpegError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(clip_files, "_video_stream", full)
    with pytest.raises(OSError, match="No space left on device") as raised:
        copy_clip(clip, tmp_path / "a.mp4")
    assert raised.value.filename == str(tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())


def test_failed_frame_leaves_no_file(clip, tmp_path):
    def painted():
        yield PaintedFrame(Image.new("RGB", (64, 64)), 0.0, 0.1)
        raise RejectedError(clip_files.Status.NO_FACE, "no face found")

    with pytest.raises(RejectedError, match="no face found"), atomic_write(tmp_path / "a.mp4") as partial:
        write_clip(painted(), partial, open_clip(clip))
    assert not list(tmp_path.iterdir())


def test_missing_output_folder_is_named(clip, tmp_path):
    output = tmp_path / "no" / "a.mp4"
    with pytest.raises(FileNotFoundError, match=re.escape(f"No such file or directory: '{output}'")):
        copy_clip(clip, output)
