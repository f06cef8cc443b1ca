"""The benchmarks' own arithmetic; their figures are in the docs."""

import argparse
import importlib
import io
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from test_metrics import OTHERS, PERSONS, SIDE, evidence, lightness, plain
from toys import FRAME, ROOT, batch, begun, drawn

from benchmarks import recolour
from benchmarks.counterfactual import along, apart, between
from benchmarks.counterfactual import spread as over_pairs
from benchmarks.intervals import coverage
from benchmarks.monotone import DAMAGES, MEASURED, STEPS, curves
from benchmarks.monotone import drawn as plot
from benchmarks.parts import HeldOut, coarse, coarse_and_fine, light_and_colour
from benchmarks.ranks import COLOURS
from benchmarks.ranks import apart as curves_apart
from benchmarks.ranks import drawn as overlaid
from benchmarks.seeds import main as seeds
from benchmarks.seeds import spread
from benchmarks.train_step import TEXTBOOK, gflop
from portraitist.core.image_io import decode_png, encode_png
from portraitist.core.shards import Shards, ShardWriter
from portraitist.evaluate._kernel import kernel
from portraitist.evaluate._skin import lab
from portraitist.evaluate.run import measured
from portraitist.learning.tensors import to_images, to_pictures
from portraitist.train.loop import seeded

DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TOLD = {one for path in DOCS for one in re.findall(r"python -m benchmarks\.(\w+[^`\n&]*)", path.read_text("utf-8"))}


class Accepted(Exception):
    pass


@pytest.mark.parametrize("command", [shlex.split(one, comments=True) for one in sorted(TOLD)], ids=" ".join)
def test_the_docs_commands_are_accepted(command, monkeypatch):
    module = importlib.import_module(f"benchmarks.{command[0]}")
    if not hasattr(module, "argparse"):
        return  # it takes what it is given

    def accepts(parser):
        read(parser)
        raise Accepted

    read = argparse.ArgumentParser.parse_args
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", accepts)
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(Accepted):
        module.main()


def test_skin_that_two_trainings_paint_alike_is_not_apart():
    selfies = drawn(3, 3, SIDE, SIDE, seed=1)
    one, other = plain(60, 100, 100), plain(60, 100, 160)
    found = apart(between(selfies, PERSONS, one, other, FRAME))
    assert found[:2].tolist() == pytest.approx([0, 0], abs=1e-6)
    assert found[2] == pytest.approx(lightness(160) - lightness(100), abs=0.4)


def test_skin_that_goes_from_one_background_to_the_other_goes_along():
    red, blue = (200, 40, 40), (40, 72, 200)
    there = (lab(np.array([[colour]], np.uint8))[0, 0] for colour in (red, blue))
    way = np.subtract(*there)
    beside = np.cross(way, (1, 0, 0))
    assert along(np.stack([way, 0.25 * way, -way, beside, 0 * way]), red, blue) == pytest.approx([1, 0.25, -1, 0, 0])


def test_the_interval_over_pairs_is_students():
    assert over_pairs([0.1, 0.2, 0.3]) == "0.2 [-0.0484, 0.448]"
    assert over_pairs([0.25]) == "0.25"


def test_a_colour_is_one_or_refused():
    assert recolour.colour_of("#c82828") == (200, 40, 40)
    with pytest.raises(ValueError, match="found 'rot'"):
        recolour.colour_of("rot")


def test_portraits_alone_are_set_before_the_colour(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    pictures = {name: rng.integers(0, 256, (8, 8, 3)).astype(np.uint8) for name in ("a", "b")}
    mask = np.zeros((8, 8), np.uint8)
    mask[2:6, 2:6] = 255
    for folder, members in (("crop", pictures), ("mask", dict.fromkeys(pictures, mask))):
        with ShardWriter(Path("data") / folder, 10) as shards:
            for name, plane in members.items():
                shards.add(name, {"png": encode_png(plane)})
    Path("data/crop/manifest.csv").write_text("id\na\nb\n")
    Path("data/split.csv").write_text("id,kind,part\na,selfies,train\nb,portraits,train\n")

    recolour.main((200, 40, 41))

    crops = Shards(Path("data/crop"))
    assert np.array_equal(decode_png(crops.read("a", "png")), pictures["a"])
    found = decode_png(crops.read("b", "png"))
    assert np.array_equal(found[2:6, 2:6], pictures["b"][2:6, 2:6])
    assert (found[mask == 0] == (200, 40, 41)).all()
    assert Path("data/crop/manifest.csv").read_text() == "id\na\nb\n"


def test_of_two_pictures_one_gives_the_light_and_the_other_the_colour():
    warm, cold = (np.full((SIDE, SIDE, 3), colour, np.uint8) for colour in ((150, 120, 100), (90, 110, 130)))
    (mixed,) = to_pictures(light_and_colour(to_images([warm]), to_images([cold])))
    found, light, colour = (lab(picture)[0, 0] for picture in (mixed, warm, cold))
    assert found == pytest.approx([light[0], *colour[1:]], abs=0.6)


def test_of_two_pictures_one_gives_the_coarse_and_the_other_the_fine():
    fine, flat = drawn(1, 3, SIDE, SIDE, seed=1) / 8, plain(60)
    assert torch.allclose(coarse_and_fine(fine, fine), fine, atol=1e-6)
    assert torch.allclose(coarse_and_fine(flat, fine), flat + fine - coarse(fine), atol=1 / 255)


@pytest.mark.slow
def test_what_lies_behind_a_person_is_no_distance(tmp_path, monkeypatch, capsys):
    for each in ("params.yaml", "profiles"):
        (tmp_path / each).symlink_to(Path(each).absolute())
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    pictures = {name: rng.integers(0, 256, (8, 8, 3)).astype(np.uint8) for name in "abcd"}
    mask = np.zeros((8, 8), np.uint8)
    mask[2:6, 2:6] = 255
    behind = {name: np.where(mask[..., None] > 0, picture, 255 - picture) for name, picture in pictures.items()}
    for folder, members in (("crop", pictures), ("mask", dict.fromkeys(pictures, mask)), ("paint/other", behind)):
        with ShardWriter(Path("data") / folder, 10) as shards:
            for name, plane in members.items():
                shards.add(name, {"png": encode_png(plane)})
    Path("data/split.csv").write_text(
        "id,kind,part\na,selfies,test\nb,selfies,test\nc,portraits,test\nd,portraits,test\n"
    )

    held = HeldOut(lambda images: images.mean((2, 3)))
    held.told("selfies", held.selfies)
    held.told("others", held.painted(Path("data/paint/other")))

    told = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert told["selfies"] == told["others"]
    seen = [held.features(to_images([pictures[name] for name in pair]) * held.masks) for pair in ("ab", "cd")]
    assert float(told["selfies"]) == pytest.approx(kernel(*seen), abs=1e-4)


def test_halves_of_one_set_are_seldom_different():
    count = 24
    given = evidence(
        ids=[str(face) for face in range(count)],
        selfies=drawn(count, 3, SIDE, SIDE, seed=1),
        masks=PERSONS.repeat(8, 1, 1, 1),
        painted=drawn(count, 3, SIDE, SIDE, seed=2),
        portraits=drawn(16, 3, SIDE, SIDE, seed=3),
        portrait_masks=OTHERS.repeat(8, 1, 1, 1),
        bootstrap=100,
    )
    found = {name: measure for name, measure in measured(given).items() if name in ("lines", "sharpness", "kid")}
    held = coverage(given, found, 30)
    assert set(held) == set(found)
    assert all(count >= 25 for count in held.values())
    told_apart = {name: measure for name, measure in found.items() if measure.each is not None}
    for measure in told_apart.values():
        measure.draws[:] = 0  # the halves' own draws count, not the whole's
    assert coverage(given, told_apart, 30) == {name: held[name] for name in told_apart}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_none_at_step_0_and_grows(damage):
    images, masks = drawn(2, 3, SIDE, SIDE, seed=1), OTHERS
    change = [float((DAMAGES[damage](images, masks, step) - images).abs().mean()) for step in STEPS]
    assert change[0] == pytest.approx(0, abs=1e-6)
    assert (np.diff(change) > 0).all()
    assert torch.equal(DAMAGES[damage](images, masks, 1.0), DAMAGES[damage](images, masks, 1.0))


def test_each_curve_is_drawn():
    images = drawn(8, 3, SIDE, SIDE, seed=1)
    masks = PERSONS.repeat(3, 1, 1, 1)[:8]
    found = curves(images, masks, evidence(turned=[images[:4]] * 8))
    assert {damage: set(of) for damage, of in found.items()} == {damage: set(MEASURED) for damage in DAMAGES}
    assert all(len(values) == len(STEPS) for of in found.values() for values in of.values())
    colours = np.array(plot(found)).reshape(-1, 3)
    assert (colours == (0x2A, 0x7D, 0xE1)).all(axis=1).sum() > 32 * 50


EXPERIMENTS = """Experiment,rev,bleed.ours,bleed.theirs,seed,train.epochs,data/crop
,workspace,0.5,1,1,20,aa
main,abc,0.5,1,1,20,aa
two,abd,0.7,,2,20,ab
three,abe,0.9,3,3,20,aa
failed,abf,,,4,20,aa
"""
NUMBERS = ["bleed.ours", "bleed.theirs"]


def test_the_spread_over_seeds_counts_each_seed_once():
    frame = spread(pd.read_csv(io.StringIO(EXPERIMENTS)), NUMBERS).set_index("number")
    assert list(frame.index) == NUMBERS
    ours = frame.loc["bleed.ours"]
    assert (ours["seeds"], ours["mean"], ours["sd"]) == (3, pytest.approx(0.7), pytest.approx(0.2))
    assert ours["high"] - ours["mean"] == pytest.approx(4.302653 * 0.2 / 3**0.5, rel=1e-5)
    assert frame.loc["bleed.theirs", "seeds"] == 2


def test_runs_that_differ_in_more_than_the_seed_are_refused():
    with pytest.raises(ValueError, match=r"differ in train\.epochs too"):
        spread(pd.read_csv(io.StringIO(EXPERIMENTS.replace("2,20", "2,40"))), NUMBERS)


def test_one_seed_has_no_spread(tmp_path, capsys):
    (tmp_path / "summary.json").write_text('{"bleed": {"ours": 1, "theirs": 2}}')
    one = "\n".join(EXPERIMENTS.splitlines()[:2]) + "\n"
    with pytest.raises(SystemExit, match="1 seeds with numbers; a spread needs two"):
        seeds(io.StringIO(one), tmp_path / "summary.json")
    seeds(io.StringIO(EXPERIMENTS), tmp_path / "summary.json")
    assert "bleed.ours" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["cartoongan", "masked_cartoongan"])
def test_the_textbook_s_step_learns_the_same_with_more_operations(name, double):
    with seeded(1):
        textbook = begun(name)
    with seeded(1):
        ours = begun(name)
    TEXTBOOK[name](textbook, batch())
    ours.step(batch())
    for key, weights in ours.state_dict().items():
        assert torch.allclose(weights, textbook.state_dict()[key], rtol=1e-6, atol=1e-6), key
    assert gflop(lambda: begun(name).step(batch())) < gflop(lambda: TEXTBOOK[name](begun(name), batch()))


def test_curves_are_apart_by_shares_of_their_mean_and_both_are_drawn():
    one = pd.DataFrame({"g_fool": [1.0, 2.0, 2.0, 3.0]})
    two = pd.DataFrame({"g_fool": [1.5, 2.0, 2.0, 1.0]})
    assert curves_apart(one, two).loc["g_fool"].tolist() == pytest.approx([0.25, 2.5 / 4 / 2, 1.0])
    seen = np.unique(np.array(overlaid({"mask": {"one": one, "two": two}})).reshape(-1, 3), axis=0).tolist()
    assert all([int(colour[at : at + 2], 16) for at in (1, 3, 5)] in seen for colour in COLOURS.values())
