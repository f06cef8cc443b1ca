"""The computations of the benchmarks, and the benchmark commands in the documentation."""

import argparse
import importlib
import json
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from evaluation_toys import (
    CROP_PARAMS,
    PERSONS,
    PORTRAIT_PERSONS,
    SIDE,
    evaluation_data,
    lightness,
    noise,
    uniform,
)
from toys import ROOT, batch, make_trainable

from benchmarks import counterfactual, data_parallel, identity_network, intervals, monotone, parts, recolour, seeds
from benchmarks.train_step import TEXTBOOK, gflop
from portraitist.core.image_io import decode_png, encode_png
from portraitist.core.shards import Shards, ShardWriter
from portraitist.evaluate.run import measure_all
from portraitist.evaluate.skin import to_lab
from portraitist.learning.realism import kernel_distance
from portraitist.learning.tensors import to_images, to_pictures
from portraitist.train.loop import seeded

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = sorted(
    {
        command
        for path in DOCUMENTS
        for command in re.findall(r"python -m benchmarks\.(\w+[^`\n&]*)", path.read_text("utf-8"))
    }
)


def write_shards(folder, pictures):
    with ShardWriter(folder, 10) as shards:
        for name, picture in pictures.items():
            shards.add(name, {"png": encode_png(picture)})


def random_pictures(names):
    rng = np.random.default_rng(0)
    return {name: rng.integers(0, 256, (8, 8, 3)).astype(np.uint8) for name in names}


def square_mask():
    mask = np.zeros((8, 8), np.uint8)
    mask[2:6, 2:6] = 255
    return mask


class ArgumentsAcceptedError(Exception):
    pass


@pytest.mark.parametrize("command", [shlex.split(command, comments=True) for command in COMMANDS], ids=" ".join)
def test_documented_command_is_accepted(command, monkeypatch):
    module = importlib.import_module(f"benchmarks.{command[0]}")
    if not hasattr(module, "argparse"):
        return  # any arguments are accepted
    parse_args = argparse.ArgumentParser.parse_args

    def parse_only(parser):
        parse_args(parser)
        raise ArgumentsAcceptedError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_only)
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(ArgumentsAcceptedError):
        module.main()


def test_counterfactual_distance_is_that_of_the_skin_colours():
    selfies = noise(3, 3, SIDE, SIDE, seed=1)
    first, second = uniform(60, 100, 100), uniform(60, 100, 160)
    differences = counterfactual.skin_differences(selfies, PERSONS, first, second, CROP_PARAMS)
    distances = counterfactual.distances(differences)
    assert distances[:2].tolist() == pytest.approx([0, 0], abs=1e-6)
    assert distances[2] == pytest.approx(lightness(160) - lightness(100), abs=0.4)


def test_counterfactual_bleed_is_a_share_of_colour_distance():
    red, blue = (200, 40, 40), (40, 72, 200)
    labs = (to_lab(np.array([[colour]], np.uint8))[0, 0] for colour in (red, blue))
    direction = np.subtract(*labs)
    orthogonal = np.cross(direction, (1, 0, 0))
    differences = np.stack([direction, 0.25 * direction, -direction, orthogonal, 0 * direction])
    assert counterfactual.bleed(differences, red, blue) == pytest.approx([1, 0.25, -1, 0, 0])


def test_counterfactual_interval_over_pairs_is_students_t():
    assert counterfactual.format_mean([0.1, 0.2, 0.3]) == "0.2 [-0.0484, 0.448]"
    assert counterfactual.format_mean([0.25]) == "0.25"


def test_recolour_accepts_css_colours_only():
    assert recolour.parse_colour("#c82828") == (200, 40, 40)
    with pytest.raises(ValueError, match="'rot'"):
        recolour.parse_colour("rot")


def test_recolour_changes_backgrounds_of_portraits_only(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pictures, mask = random_pictures("ab"), square_mask()
    write_shards(Path("data/crop"), pictures)
    write_shards(Path("data/mask"), dict.fromkeys(pictures, mask))
    Path("data/crop/manifest.csv").write_text("id\na\nb\n")
    Path("data/split.csv").write_text("id,kind,part\na,selfies,train\nb,portraits,train\n")

    recolour.main((200, 40, 41))

    crops = Shards(Path("data/crop"))
    assert np.array_equal(decode_png(crops.read("a", "png")), pictures["a"])
    portrait = decode_png(crops.read("b", "png"))
    assert np.array_equal(portrait[2:6, 2:6], pictures["b"][2:6, 2:6])
    assert (portrait[mask == 0] == (200, 40, 41)).all()
    assert Path("data/crop/manifest.csv").read_text() == "id\na\nb\n"


def test_lightness_and_colour_are_combined():
    warm, cold = (np.full((SIDE, SIDE, 3), colour, np.uint8) for colour in ((150, 120, 100), (90, 110, 130)))
    (combined,) = to_pictures(parts.combine_lightness_and_colour(to_images([warm]), to_images([cold])))
    result, light, colour = (to_lab(picture)[0, 0] for picture in (combined, warm, cold))
    assert result == pytest.approx([light[0], *colour[1:]], abs=0.6)


def test_coarse_and_fine_structure_are_combined():
    fine, flat = noise(1, 3, SIDE, SIDE, seed=1) / 8, uniform(60)
    assert torch.allclose(parts.combine_coarse_and_fine(fine, fine), fine, atol=1e-6)
    combined = parts.combine_coarse_and_fine(flat, fine)
    assert torch.allclose(combined, flat + fine - parts.coarse(fine), atol=1 / 255)


@pytest.mark.slow
def test_held_out_distance_ignores_the_background(tmp_path, monkeypatch, capsys):
    for name in ("params.yaml", "profiles"):
        (tmp_path / name).symlink_to(Path(name).absolute())
    monkeypatch.chdir(tmp_path)
    pictures, mask = random_pictures("abcd"), square_mask()
    inverted = {name: np.where(mask[..., None] > 0, picture, 255 - picture) for name, picture in pictures.items()}
    write_shards(Path("data/crop"), pictures)
    write_shards(Path("data/mask"), dict.fromkeys(pictures, mask))
    write_shards(Path("data/paint/inverted"), inverted)
    Path("data/split.csv").write_text(
        "id,kind,part\na,selfies,test\nb,selfies,test\nc,portraits,test\nd,portraits,test\n"
    )

    held_out = parts.HeldOutSet(lambda images: images.mean((2, 3)))
    held_out.print_distance("selfies", held_out.selfies)
    held_out.print_distance("inverted", held_out.stylized(Path("data/paint/inverted")))

    distances = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert distances["selfies"] == distances["inverted"]
    features = [
        held_out.features(to_images([pictures[name] for name in pair]) * held_out.masks) for pair in ("ab", "cd")
    ]
    assert float(distances["selfies"]) == pytest.approx(kernel_distance(*features), abs=1e-4)


def test_intervals_of_halves_contain_zero():
    count = 24
    data = evaluation_data(
        ids=[str(face) for face in range(count)],
        selfies=noise(count, 3, SIDE, SIDE, seed=1),
        masks=PERSONS.repeat(8, 1, 1, 1),
        stylized=noise(count, 3, SIDE, SIDE, seed=2),
        portraits=noise(16, 3, SIDE, SIDE, seed=3),
        portrait_masks=PORTRAIT_PERSONS.repeat(8, 1, 1, 1),
        bootstrap=100,
    )
    selected = ("lines", "sharpness", "kid")
    measurements = {name: result for name, result in measure_all(data).items() if name in selected}
    covered = intervals.coverage(data, measurements, 30)
    assert set(covered) == set(measurements)
    assert all(count >= 25 and counted == 30 for count, counted in covered.values())
    per_face = {name: result for name, result in measurements.items() if result.per_face is not None}
    for result in per_face.values():
        result.draws[:] = 0  # the draws of the halves are used, not those of the whole set
    assert intervals.coverage(data, per_face, 30) == {name: covered[name] for name in per_face}
    rates = {"lines": replace(measurements["lines"], details={"interval": "Wilson"})}
    assert intervals.coverage(data, rates, 1) == {}


@pytest.mark.parametrize("name", monotone.DAMAGES)
def test_damage_is_zero_at_step_0_and_grows(name):
    damage, images, masks = monotone.DAMAGES[name], noise(2, 3, SIDE, SIDE, seed=1), PORTRAIT_PERSONS
    change = [float((damage(images, masks, step) - images).abs().mean()) for step in monotone.STEPS]
    assert change[0] == pytest.approx(0, abs=1e-6)
    assert (np.diff(change) > 0).all()
    assert torch.equal(damage(images, masks, 1.0), damage(images, masks, 1.0))


def test_damage_curves_of_all_metrics_are_plotted():
    images = noise(8, 3, SIDE, SIDE, seed=1)
    masks = PERSONS.repeat(3, 1, 1, 1)[:8]
    curves = monotone.measure_curves(images, masks, evaluation_data(on_backgrounds=[images[:4]] * 8))
    assert {damage: set(values) for damage, values in curves.items()} == {
        damage: set(monotone.METRICS) for damage in monotone.DAMAGES
    }
    assert all(len(values) == len(monotone.STEPS) for of in curves.values() for values in of.values())
    colours = np.array(monotone.plot(curves)).reshape(-1, 3)
    assert (colours == (0x2A, 0x7D, 0xE1)).all(axis=1).sum() > 32 * 50


RUNS = [
    {"bleed": {"ours": 0.5, "theirs": 1.0}},
    {"bleed": {"ours": 0.7}},
    {"bleed": {"ours": 0.9, "theirs": 3.0}, "fid": {"ours": 2.0}},
]


def test_variation_is_over_the_runs_that_have_a_value():
    frame = seeds.variation_over_seeds(RUNS).set_index(["metric", "method"])
    assert list(frame.index) == [("bleed", "ours"), ("bleed", "theirs")]  # only one run has fid
    ours = frame.loc["bleed", "ours"]
    assert (ours["seeds"], ours["mean"], ours["sd"]) == (3, pytest.approx(0.7), pytest.approx(0.2))
    assert ours["high"] - ours["mean"] == pytest.approx(4.302653 * 0.2 / 3**0.5, rel=1e-5)
    assert frame.loc[("bleed", "theirs"), "seeds"] == 2


def test_single_run_is_an_error(tmp_path, capsys):
    paths = [tmp_path / f"{number}.json" for number in range(3)]
    for path, run in zip(paths, RUNS, strict=True):
        path.write_text(json.dumps(run))
    with pytest.raises(SystemExit, match="1 runs"):
        seeds.main(paths[:1])
    seeds.main(paths)
    assert "| bleed " in capsys.readouterr().out


@pytest.mark.parametrize("name", ["cartoongan", "masked_cartoongan"])
def test_textbook_step_gives_equal_weights_at_higher_cost(name, double):
    with seeded(1):
        textbook = make_trainable(name)
    with seeded(1):
        ours = make_trainable(name)
    TEXTBOOK[name](textbook, batch())
    ours.step(batch())
    for key, weights in ours.state_dict().items():
        assert torch.allclose(weights, textbook.state_dict()[key], rtol=1e-6, atol=1e-6), key
    textbook_gflop = gflop(lambda: TEXTBOOK[name](make_trainable(name), batch()))
    assert gflop(lambda: make_trainable(name).step(batch())) < textbook_gflop


def test_curves_of_process_counts_are_compared_and_plotted():
    one = pd.DataFrame({"g_adv": [1.0, 2.0, 2.0, 3.0]})
    two = pd.DataFrame({"g_adv": [1.5, 2.0, 2.0, 1.0]})
    assert data_parallel.relative_differences(one, two).loc["g_adv"].tolist() == pytest.approx([0.25, 2.5 / 4 / 2, 1.0])
    picture = np.array(data_parallel.plot({"mask": {"one": one, "two": two}}))
    colours = np.unique(picture.reshape(-1, 3), axis=0).tolist()
    assert all(
        [int(colour[at : at + 2], 16) for at in (1, 3, 5)] in colours for colour in data_parallel.COLOURS.values()
    )


def test_weights_of_eight_bits_are_dequantized():
    code = {"dtype": "uint8", "scale": 0.5, "min": -1.0}
    entries = [
        {"name": "small", "shape": [2, 2], "dtype": "float32", "quantization": code},
        {"name": "exact", "shape": [1], "dtype": "float32"},
    ]
    data = bytes([0, 1, 2, 255]) + np.array([0.3], np.float32).tobytes()
    weights = identity_network.dequantize([{"weights": entries}], data)
    assert weights["small"].tolist() == [[-1, -0.5], [0, 126.5]]
    assert weights["exact"] == np.array([0.3], np.float32)
    with pytest.raises(ValueError, match="8 bytes of weights, the file has 9"):
        identity_network.dequantize([{"weights": entries}], data + b"0")
