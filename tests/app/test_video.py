import io
import re

import cv2
import numpy as np
import pytest
from PIL import Image, ImageSequence
from typer.testing import CliRunner

from portraitist.app.avatar import Portraitist, RejectedError
from portraitist.app.compositing import Finish
from portraitist.app.video import LOST_S, Film, Follower, Steady, opened, paint_video
from portraitist.cli import app
from portraitist.core.outcome import Status

SIZE = (240, 200)


@pytest.fixture(scope="module")
def portraitist(model):
    return Portraitist.open(model)


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
    """A face that goes to the right."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, SIZE)
    for number in range(8):
        writer.write(cv2.cvtColor(frame(face, 10 + 6 * number), cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def test_still_points_come_to_rest_and_quick_ones_are_followed():
    rng = np.random.default_rng(1)
    still, quick = Steady(25.0), Steady(25.0)
    points = np.array([[50, 50], [80, 50]], np.float32)
    trembling = [still(points + rng.normal(0, 1, (2, 2)).astype(np.float32), 40.0) for _ in range(100)]
    assert np.std([one[0, 0] for one in trembling[20:]]) < 0.6
    assert np.abs(trembling[-1] - points).max() < 2
    for number in range(50):
        seen = quick(points + np.float32(8 * number), 40.0)
    assert np.abs(seen - (points + 8 * 49)).max() < 12


def test_the_crop_trembles_less_than_the_face_that_is_found(portraitist, face):
    rng = np.random.default_rng(3)
    follow, found, kept = Follower(portraitist, 25.0), [], []
    for _ in range(16):
        noisy = (
            (frame(face, 40).astype(int) + rng.integers(-30, 31, (SIZE[1], SIZE[0], 3))).clip(0, 255).astype(np.uint8)
        )
        found.append(portraitist.paint(noisy).transform)
        kept.append(follow(noisy).transform)
    trembling = lambda transforms: np.abs(np.diff(np.array(transforms)[2:, :, 2], axis=0)).mean()
    assert trembling(found) > 0.1
    assert trembling(kept) < 0.6 * trembling(found)


def test_a_face_that_hides_for_a_moment_is_painted_where_it_was_and_missed_later(portraitist, face):
    follow = Follower(portraitist, 10.0)
    here, empty = frame(face, 40), np.full((SIZE[1], SIZE[0], 3), 120, np.uint8)
    last = follow(here)
    plain = frame(Image.new("RGB", (1, 1)), 0)
    mask = portraitist.mask
    follow.portraitist.mask = lambda crop: last.mask
    try:
        for _ in range(round(LOST_S * 10)):
            assert np.array_equal(follow(empty).landmarks, last.landmarks)
        with pytest.raises(RejectedError, match="no face found in the 240 x 200 picture"):
            follow(plain)
    finally:
        follow.portraitist.mask = mask


def test_a_cut_to_another_place_is_not_smoothed_over(portraitist, face):
    small = face.resize((90, 90))
    follow = Follower(portraitist, 25.0)
    for _ in range(3):
        follow(frame(small, 0, 0))
    jumped = follow(frame(small, 150, 100))
    alone = portraitist.paint(frame(small, 150, 100))
    assert jumped.landmarks == pytest.approx(alone.landmarks, abs=0.01)


@pytest.mark.parametrize("ending", ["gif", "webp"])
def test_a_clip_becomes_a_moving_picture_of_as_many_frames_and_as_quick(portraitist, clip, tmp_path, ending):
    place = tmp_path / f"me.{ending}"
    paint_video(portraitist, clip, place, Finish((10, 200, 30), size_px=64))
    with Image.open(place) as made:
        frames = [np.array(one.convert("RGB")) for one in ImageSequence.Iterator(made)]
        assert (made.n_frames, made.size) == (8, (64, 64))
        assert made.info.get("duration", 100) == 100
    assert [path.name for path in tmp_path.iterdir()] == [place.name]
    assert all(np.abs(one[0, 0].astype(int) - (10, 200, 30)).max() < 20 for one in frames)


def test_a_clip_becomes_an_mp4_and_a_gif_is_read_too(portraitist, clip, tmp_path):
    paint_video(portraitist, clip, tmp_path / "a.gif", Finish("keep"))
    paint_video(portraitist, clip, tmp_path / "a.mp4", Finish((255, 0, 0)))
    film = opened(tmp_path / "a.mp4")
    frames = list(film.frames)
    assert (film.per_second, len(frames)) == (10, 8)
    assert np.abs(frames[3][0, 0].astype(int) - (255, 0, 0)).max() < 30
    gif = opened(tmp_path / "a.gif")
    assert isinstance(gif, Film)
    assert (gif.per_second, len(list(gif.frames))) == (10, 8)


def test_a_clip_without_a_face_is_refused_from_that_second_on_and_nothing_is_left(portraitist, face, tmp_path):
    path = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, SIZE)
    for _ in range(3):
        writer.write(np.full((SIZE[1], SIZE[0], 3), 90, np.uint8))
    writer.release()
    with pytest.raises(RejectedError, match=r"at 0\.0 s: no face found"):
        paint_video(portraitist, path, tmp_path / "me.gif", Finish())
    assert [one.name for one in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_gif_over_the_bound_is_refused_before_it_is_decoded(portraitist, tmp_path, monkeypatch):
    large, small = gif_of(20, 20), gif_of(12, 20)
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("it was decoded"))
    data = bytearray(large)
    data[6:10] = (8000).to_bytes(2, "little") * 2  # its width and height, as its header tells them
    (tmp_path / "large.gif").write_bytes(data)
    (tmp_path / "small.gif").write_bytes(small)
    for name, told in (("large", "8000 x 8000 pixels; at most 50 megapixels"), ("small", "each side needs 16")):
        with pytest.raises(RejectedError, match=told):
            paint_video(portraitist, tmp_path / f"{name}.gif", tmp_path / "me.gif", Finish())
    data[6:10] = (60000).to_bytes(2, "little") * 2  # so large that Pillow itself refuses
    (tmp_path / "large.gif").write_bytes(data)
    with pytest.raises(RejectedError, match="exceeds limit") as raised:
        paint_video(portraitist, tmp_path / "large.gif", tmp_path / "me.gif", Finish())
    assert raised.value.status is Status.TOO_LARGE


def gif_of(width, height):
    buffer = io.BytesIO()
    one, other = (Image.new("RGB", (width, height), (shade,) * 3) for shade in (90, 200))
    one.save(buffer, "GIF", save_all=True, append_images=[other])
    return buffer.getvalue()


def test_a_film_that_is_there_is_kept_unless_force_is_said(portraitist, clip, tmp_path):
    place = tmp_path / "me.gif"
    place.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"me\.gif exists"):
        paint_video(portraitist, clip, place, Finish())
    assert place.read_bytes() == b"mine"
    paint_video(portraitist, clip, place, Finish(), force=True)
    assert place.read_bytes()[:3] == b"GIF"


@pytest.fixture
def writers(monkeypatch):
    """OpenCV's writers of films as they are made; none takes a frame, and none says so."""
    made, begun = [], cv2.VideoWriter

    class Writer:  # not OpenCV's with a method changed: its memory is not Python's to clear
        fourcc = begun.fourcc

        def __init__(self, *words):
            self.own, self.open = begun(*words), True
            made.append(self)

        def isOpened(self):
            return self.own.isOpened()

        def write(self, frame):
            pass

        def release(self):
            self.open = False
            self.own.release()

    monkeypatch.setattr(cv2, "VideoWriter", Writer)
    return made


def test_an_mp4_is_closed_also_where_painting_fails(portraitist, clip, tmp_path, monkeypatch, writers):
    def full(self, frame):
        raise OSError("the disk is full")

    monkeypatch.setattr(cv2.VideoWriter, "write", full)
    with pytest.raises(OSError, match="the disk is full"):
        paint_video(portraitist, clip, tmp_path / "me.mp4", Finish())
    assert [writer.open for writer in writers] == [False]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", ["gif", "webp"])
def test_each_frame_of_a_gif_stays_as_long_as_before(portraitist, face, tmp_path, ending):
    frames = [Image.fromarray(frame(face, 10 + 20 * number)) for number in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=[50, 300, 40])
    paint_video(portraitist, tmp_path / "a.gif", tmp_path / f"me.{ending}", Finish("keep"))
    with Image.open(tmp_path / f"me.{ending}") as made:
        assert [one.copy().info["duration"] for one in ImageSequence.Iterator(made)] == [50, 300, 40]


def test_a_gif_is_not_too_long_because_its_first_frame_stays(portraitist, face, tmp_path):
    frames = [Image.fromarray(frame(face, 10 + 20 * number)) for number in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=[90_000, 20, 20])
    paint_video(portraitist, tmp_path / "a.gif", tmp_path / "me.gif", Finish("keep"))
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=[20, 120_000, 20])
    with pytest.raises(RejectedError, match="longer than 120 s"):
        paint_video(portraitist, tmp_path / "a.gif", tmp_path / "you.gif", Finish("keep"))


def test_a_gif_that_breaks_off_is_refused(portraitist, face, tmp_path):
    frames = [Image.fromarray(frame(face, 10 + 20 * number)) for number in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    data = (tmp_path / "a.gif").read_bytes()
    (tmp_path / "b.gif").write_bytes(data[: round(0.8 * len(data))])
    with pytest.raises(RejectedError, match="the clip is broken: "):
        paint_video(portraitist, tmp_path / "b.gif", tmp_path / "me.gif", Finish("keep"))


def test_an_mp4_that_is_cut_off_gets_no_name(portraitist, clip, tmp_path, writers):
    with pytest.raises(OSError, match=r"0 of 8 frames are in it; is the disk full\?") as raised:
        paint_video(portraitist, clip, tmp_path / "me.mp4", Finish())
    assert raised.value.filename == str(tmp_path / "me.mp4")
    assert [writer.open for writer in writers] == [False]
    assert not list(tmp_path.iterdir())


def test_a_folder_that_takes_no_mp4_is_told(portraitist, clip, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=re.escape(f"No such file or directory: '{tmp_path / 'no' / 'me.mp4'}'")
    ):
        paint_video(portraitist, clip, tmp_path / "no" / "me.mp4", Finish())


@pytest.mark.parametrize("name", ["bad.mp4", "bad.gif", "empty.mp4", "empty.gif"])
def test_what_is_no_clip_is_refused(portraitist, tmp_path, name):
    (tmp_path / name).write_bytes(b"hello" * 100 if "bad" in name else b"")
    with pytest.raises(RejectedError, match=r"not a clip that opens as|an empty file"):
        paint_video(portraitist, tmp_path / name, tmp_path / "me.gif", Finish())


def test_the_command_line_paints_clips_too(model, clip, tmp_path):
    run = lambda *words: CliRunner().invoke(app, ["paint", *map(str, words), "--model", str(model)])
    assert run(clip, "-o", tmp_path / "me.gif").exit_code == 0
    assert run(clip, clip.parent, "-o", tmp_path / "all").stdout == f"{tmp_path / 'all' / 'clip.mp4'}\n"
    refused = run(clip, "-o", tmp_path / "me.png")
    assert (refused.exit_code, refused.stderr) == (
        2,
        f"portraitist: {tmp_path / 'me.png'}: allowed endings are .gif .mp4 .webp\n",
    )
