import io
from threading import Event

import av
import numpy as np
import pytest
from app_helpers import write_video
from PIL import Image, ImageSequence
from typer.testing import CliRunner

from portraitist.app import paint_files
from portraitist.app.avatar import Portraitist, RejectedError
from portraitist.app.compositing import Finish
from portraitist.app.video import MAX_LOST_S, FaceTracker, OneEuroFilter, StoppedError, paint_video
from portraitist.cli import app
from portraitist.core.outcome import Status

SIZE = (240, 200)


@pytest.fixture(scope="module")
def portraitist(model):
    return Portraitist(model)


@pytest.fixture(scope="module")
def face(sample):
    with Image.open(sample / "selfies" / "0006.jpg") as picture:
        return picture.convert("RGB").resize((150, 150))


def frame(face, left, top=30):
    made = Image.new("RGB", SIZE, (120, 140, 130))
    made.paste(face, (round(left), round(top)))
    return np.array(made)


@pytest.fixture(scope="module")
def clip(face, tmp_path_factory):
    """A face that moves to the right, at 10 frames per second."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    return write_video(path, [frame(face, 10 + 6 * number) for number in range(8)])


def test_filter_smooths_points_at_rest_and_follows_fast_ones():
    rng = np.random.default_rng(1)
    resting, fast = OneEuroFilter(25.0), OneEuroFilter(25.0)
    points = np.array([[50, 50], [80, 50]], np.float32)
    jittering = [resting(points + rng.normal(0, 1, (2, 2)).astype(np.float32), 40.0) for _ in range(100)]
    assert np.std([smoothed[0, 0] for smoothed in jittering[20:]]) < 0.6
    assert np.abs(jittering[-1] - points).max() < 2
    for number in range(50):
        smoothed = fast(points + np.float32(8 * number), 40.0)
    assert np.abs(smoothed - (points + 8 * 49)).max() < 12


def test_crop_jitters_less_than_the_detections(portraitist, face):
    rng = np.random.default_rng(3)
    tracker, detected, tracked = FaceTracker(portraitist, 25.0), [], []
    for _ in range(16):
        noisy = (
            (frame(face, 40).astype(int) + rng.integers(-30, 31, (SIZE[1], SIZE[0], 3))).clip(0, 255).astype(np.uint8)
        )
        detected.append(portraitist.paint(noisy).transform)
        tracked.append(tracker(noisy).transform)
    shifts = [np.abs(np.diff(np.array(each)[2:, :, 2], axis=0)).mean() for each in (detected, tracked)]
    assert shifts[0] > 0.1
    assert shifts[1] < 0.6 * shifts[0]


def test_briefly_lost_face_is_painted_where_it_was(portraitist, face):
    tracker = FaceTracker(portraitist, 10.0)
    face_frame, empty = frame(face, 40), np.full((SIZE[1], SIZE[0], 3), 120, np.uint8)
    last = tracker(face_frame)
    plain = frame(Image.new("RGB", (1, 1)), 0)
    person = tracker.mask
    tracker.portraitist.person = lambda cleaned, crop: person
    try:
        for _ in range(round(MAX_LOST_S * 10)):
            assert np.array_equal(tracker(empty).landmarks, last.landmarks)
        with pytest.raises(RejectedError, match="no face found in the 240 x 200 picture"):
            tracker(plain)
    finally:
        del tracker.portraitist.person


def test_smoothing_restarts_at_a_cut_to_another_shot(portraitist, face):
    small = face.resize((90, 90))
    tracker = FaceTracker(portraitist, 25.0)
    for _ in range(3):
        tracker(frame(small, 0, 0))
    jumped = tracker(frame(small, 150, 100))
    alone = portraitist.paint(frame(small, 150, 100))
    assert jumped.landmarks == pytest.approx(alone.landmarks, abs=0.01)


@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_animation_keeps_frame_count_and_speed(portraitist, clip, tmp_path, suffix):
    output = tmp_path / f"me.{suffix}"
    paint_video(portraitist, clip, output, Finish((10, 200, 30), size_px=64))
    with Image.open(output) as painted:
        frames = [np.array(each.convert("RGB")) for each in ImageSequence.Iterator(painted)]
        assert (painted.n_frames, painted.size) == (8, (64, 64))
        assert painted.info.get("duration", 100) == 100
    assert [path.name for path in tmp_path.iterdir()] == [output.name]
    assert all(np.abs(each[0, 0].astype(int) - (10, 200, 30)).max() < 20 for each in frames)


def test_clip_without_a_face_is_rejected_with_the_second(portraitist, face, tmp_path):
    path = write_video(tmp_path / "clip.mp4", [np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)] * 3)
    with pytest.raises(RejectedError, match=r"at 0\.0 s: no face found"):
        paint_video(portraitist, path, tmp_path / "me.gif", Finish())
    assert [each.name for each in tmp_path.iterdir()] == ["clip.mp4"]


def test_too_large_gif_is_rejected_before_decoding(portraitist, tmp_path, monkeypatch):
    large, small = gif_of(20, 20), gif_of(12, 20)
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("it was decoded"))
    data = bytearray(large)
    data[6:10] = (8000).to_bytes(2, "little") * 2  # width and height in the header
    (tmp_path / "large.gif").write_bytes(data)
    (tmp_path / "small.gif").write_bytes(small)
    for name, message in (("large", "8000 x 8000"), ("small", "16")):
        with pytest.raises(RejectedError, match=message):
            paint_video(portraitist, tmp_path / f"{name}.gif", tmp_path / "me.gif", Finish())
    data[6:10] = (60000).to_bytes(2, "little") * 2  # beyond Pillow's own limit
    (tmp_path / "large.gif").write_bytes(data)
    with pytest.raises(RejectedError, match="exceeds limit") as raised:
        paint_video(portraitist, tmp_path / "large.gif", tmp_path / "me.gif", Finish())
    assert raised.value.status is Status.TOO_LARGE


def gif_of(width, height):
    buffer = io.BytesIO()
    first, second = (Image.new("RGB", (width, height), (shade,) * 3) for shade in (90, 200))
    first.save(buffer, "GIF", save_all=True, append_images=[second])
    return buffer.getvalue()


def test_existing_clip_is_kept_unless_forced(portraitist, clip, tmp_path):
    output = tmp_path / "me.gif"
    output.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"me\.gif exists"):
        paint_video(portraitist, clip, output, Finish())
    assert output.read_bytes() == b"mine"
    paint_video(portraitist, clip, output, Finish(), force=True)
    assert output.read_bytes()[:3] == b"GIF"


@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_gif_frames_keep_their_durations(portraitist, face, tmp_path, suffix):
    frames = [Image.fromarray(frame(face, 10 + 20 * number)) for number in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=[50, 300, 40])
    paint_video(portraitist, tmp_path / "a.gif", tmp_path / f"me.{suffix}", Finish("keep"))
    with Image.open(tmp_path / f"me.{suffix}") as painted:
        assert [each.copy().info["duration"] for each in ImageSequence.Iterator(painted)] == [50, 300, 40]


@pytest.mark.parametrize("durations_ms", [[100, 300, 600], [110, 110, 110]])
def test_last_frame_of_a_gif_keeps_its_duration_in_an_mp4(portraitist, face, tmp_path, durations_ms):
    frames = [Image.fromarray(frame(face, 10 + 20 * number)) for number in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=durations_ms)
    paint_video(portraitist, tmp_path / "a.gif", tmp_path / "me.mp4", Finish("keep"))
    with av.open(str(tmp_path / "me.mp4")) as painted:
        assert painted.duration / 1e6 == pytest.approx(sum(durations_ms) / 1e3, abs=0.02)


def test_stopped_clip_ends_at_the_next_frame_and_leaves_no_file(portraitist, clip, tmp_path, monkeypatch):
    stop, painted = Event(), []

    def paint_frame(tracker, picture):
        painted.append(picture)
        stop.set()
        return original(tracker, picture)

    original = FaceTracker.__call__
    monkeypatch.setattr(FaceTracker, "__call__", paint_frame)
    with pytest.raises(StoppedError):
        paint_video(portraitist, clip, tmp_path / "out" / "me.mp4", Finish(), stop=stop)
    assert len(painted) == 1
    assert list((tmp_path / "out").iterdir()) == []


def test_clips_end_if_the_caller_of_a_batch_stops(portraitist, clip, tmp_path, monkeypatch):
    started, waited = Event(), []

    def paint_until_stopped(*arguments):
        started.set()
        waited.append(arguments[-1].wait(20))
        raise StoppedError

    monkeypatch.setattr(paint_files, "paint_video", paint_until_stopped)
    (tmp_path / "a.png").write_bytes(b"no picture")
    selfies, outputs = [tmp_path / "a.png", clip], [tmp_path / "b.png", tmp_path / "b.mp4"]
    batch = paint_files.paint_batch(portraitist, selfies, outputs, paint_files.PaintOptions(Finish()), 2)
    assert next(batch).status == "failed"
    assert started.wait(20)
    batch.close()
    assert waited == [True]


def test_gif_duration_excludes_the_last_frame(portraitist, face, tmp_path):
    frames = [Image.fromarray(frame(face, 10 + 20 * number)) for number in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=[90_000, 20, 20])
    paint_video(portraitist, tmp_path / "a.gif", tmp_path / "me.gif", Finish("keep"))
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=[20, 120_000, 20])
    with pytest.raises(RejectedError, match="longer than 120 s"):
        paint_video(portraitist, tmp_path / "a.gif", tmp_path / "you.gif", Finish("keep"))


def test_truncated_gif_is_rejected(portraitist, face, tmp_path):
    frames = [Image.fromarray(frame(face, 10 + 20 * number)) for number in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    data = (tmp_path / "a.gif").read_bytes()
    (tmp_path / "b.gif").write_bytes(data[: round(0.8 * len(data))])
    with pytest.raises(RejectedError, match="the clip is damaged: "):
        paint_video(portraitist, tmp_path / "b.gif", tmp_path / "me.gif", Finish("keep"))


@pytest.mark.parametrize("name", ["bad.mp4", "bad.gif", "empty.mp4", "empty.gif"])
def test_unreadable_clips_are_rejected(portraitist, tmp_path, name):
    (tmp_path / name).write_bytes(b"hello" * 100 if "bad" in name else b"")
    with pytest.raises(RejectedError, match=r"not a readable|empty"):
        paint_video(portraitist, tmp_path / name, tmp_path / "me.gif", Finish())


def test_command_line_paints_clips(model, clip, tmp_path):
    def run(*arguments):
        return CliRunner().invoke(app, ["paint", *map(str, arguments), "--model", str(model)])

    assert run(clip, "-o", tmp_path / "me.gif").exit_code == 0
    assert run(clip, clip.parent, "-o", tmp_path / "all").stdout == f"{tmp_path / 'all' / 'clip.mp4'}\n"
    rejected = run(clip, "-o", tmp_path / "me.png")
    assert (rejected.exit_code, rejected.stderr) == (
        2,
        f"portraitist: {tmp_path / 'me.png'}: suffix '.png' is not supported; allowed are .gif .mp4 .webp\n",
    )
