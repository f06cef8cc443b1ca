import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml
from pydantic import ValidationError
from toys import ROOT

from portraitist.all_params import SECTIONS
from portraitist.clean.params import CleanParams
from portraitist.collect.params import CollectParams
from portraitist.core.params import ParamsError, load, load_methods
from portraitist.crop.params import CropParams
from portraitist.train.params import TrainParams


@pytest.fixture
def root(tmp_path):
    """The project's own params, to be spoilt."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "profiles", tmp_path / "profiles")
    return tmp_path


def spoil(root, name, value, file="params.yaml"):
    """Write a value at "section.key"; the name of a section that is not there makes it."""
    content = yaml.safe_load((root / file).read_text(encoding="utf-8"))
    *above, last = name.split(".")
    inner = content
    for key in above:
        inner = inner.setdefault(key, {})
    inner[last] = value
    (root / file).write_text(yaml.safe_dump(content), encoding="utf-8")


def complaint(root, section=CleanParams, name="clean"):
    with pytest.raises(ParamsError) as error:
        load(section, name, root)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("profile", ["sample", "local", "cpu", "full"])
@pytest.mark.parametrize("name", SECTIONS)
def test_every_profile_gives_every_section(root, profile, name):
    spoil(root, "profile", profile)
    assert load(SECTIONS[name], name, root)


def test_a_section_is_what_params_and_profile_say_together(root):
    spoil(root, "clean.min_side_px", 77)
    spoil(root, "clean.shard_size", 5, "profiles/sample.yaml")
    spoil(root, "seed", 9)
    params = load(CleanParams, "clean", root)
    assert (params.min_side_px, params.shard_size) == (77, 5)
    assert load(TrainParams, "train", root).seed == 9


def test_values_never_change(root):
    with pytest.raises(ValidationError, match="frozen"):
        load(CleanParams, "clean", root).min_side_px = 3


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("clean.min_side", 64, "clean.min_side: Extra inputs are not permitted, found 64"),
        ("clean.min_side_px", "many", "clean.min_side_px: .*, found 'many'"),
        ("clean.min_side_px", 64.5, "clean.min_side_px: .*, found 64.5"),
        ("clean.min_side_px", None, "clean.min_side_px: .*, found None"),
        ("clean.min_side_px", 15, "clean.min_side_px: .*greater than or equal to 16, found 15"),
        ("clean.max_megapixels", 0, "clean.max_megapixels: .*greater than 0, found 0"),
        ("crop.min_score", 1.5, "crop.min_score: .*less than or equal to 1, found 1.5"),
        ("crop.eye_to_mouth", 0.5, "crop.eye_to_mouth: .*less than 0.5, found 0.5"),
        ("mask.model", "magic", "mask.model: .*'refined', 'selfie' or .*, found 'magic'"),
        ("split.train", 0.96, "split: .*train 0.96 and validation 0.05 leave nothing for the test"),
        ("augment.backgrounds", [], "augment.backgrounds: .*at least 1 item"),
        ("augment.backgrounds", ["solid", "beach"], "augment.backgrounds.1: .*, found 'beach'"),
        ("train.learning_rate", 0, "train.learning_rate: .*greater than 0, found 0"),
        ("train.content_weight", float("nan"), "train.content_weight: .*finite number, found nan"),
        ("train.content_weight", float("inf"), "train.content_weight: .*finite number, found inf"),
        ("evaluate.features_px", 100, "evaluate.features_px: .*multiple of 32, found 100"),
        ("export.method", "magic", "export.method: .*no such method; there are attention_gan, .*found 'magic'"),
        ("methods.magic", {}, "methods.magic: no such method; there are attention_gan, "),
        ("export.max_error.int8", -1, "export.max_error.int8: .*greater than or equal to 0, found -1"),
        ("collect.sample.selfie", "x", "collect.sample.selfie: Extra inputs are not permitted, found 'x'"),
        ("collect.gallery", {}, "collect.gallery: no such source; there are baidu, bing, celeba, "),
        ("collect.baidu.queries", [], "collect.baidu.queries: .*at least 1 item"),
        ("collect.baidu.licences", ["by"], "collect.baidu.licences: Extra inputs are not permitted"),
        ("collect.commons.licences", ["by-nc"], "collect.commons.licences.0: .*, found 'by-nc'"),
        ("collect.taobao.seam", 1.5, "collect.taobao.seam: .*less than or equal to 1, found 1.5"),
        ("fetch.contact", "me at home", "fetch.contact: .*, found 'me at home'"),
        ("seed", -1, "seed: .*greater than or equal to 0, found -1"),
        ("cleaning.min_side_px", 64, "params.yaml: unknown section 'cleaning'; allowed are .*clean, "),
        ("clean", 3, "params: clean should be a section, found 3"),
        ("profile", "huge", "params.yaml: profile is 'huge'; there are cpu, full, local, sample"),
        ("clean.shard_size", 100, "clean.shard_size stands in params.yaml and in the profile; one must go"),
    ],
)
def test_what_cannot_be_is_told_in_one_line_whatever_section_is_asked_for(root, name, value, told):
    spoil(root, name, value)
    for section, asked in ((CleanParams, "clean"), (CropParams, "crop"), (CollectParams, "collect.folder")):
        message = complaint(root, section, asked)
        assert re.search(told, message)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("crop.size_px", 100, "crop.size_px: .*multiple of 16, found 100"),
        ("crop.size", 96, "crop.size: Extra inputs are not permitted, found 96"),
        ("generator.width", 5, "generator.width: .*multiple of 2, found 5"),
        ("train.epochs", 0, "train.epochs: .*greater than or equal to 1, found 0"),
        ("trane.epochs", 1, "profiles/sample.yaml: unknown section 'trane'"),
        (
            "seed",
            7,
            "profiles/sample.yaml: unknown section 'seed'; allowed are augment, clean, collect, crop, evaluate",
        ),
        ("content.network", "vgg19", "profiles/sample.yaml: unknown section 'content'"),
    ],
)
def test_the_profile_is_read_as_strictly(root, name, value, told):
    spoil(root, name, value, "profiles/sample.yaml")
    assert re.search(told, complaint(root))


def test_a_key_that_is_missing_is_named(root):
    content = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    del content["crop"]["eye_line"]
    (root / "params.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    assert complaint(root) == "crop.eye_line: Field required"


@pytest.mark.parametrize("key", ["profile", "seed", "launch", "collect", "methods"])
def test_what_no_stage_can_do_without_is_named(root, key):
    content = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    del content[key]
    (root / "params.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    assert complaint(root) == f"params.yaml: {key!r} is missing"


def test_two_faults_are_told_both(root):
    spoil(root, "crop.eye_line", 2)
    spoil(root, "crop.min_inside", -1)
    assert re.search("crop.eye_line: .*found 2; crop.min_inside: .*found -1", complaint(root))


@pytest.mark.parametrize("text", ["clean: [1, 2", "- a\n- b\n", "", "a: b: c"])
def test_a_file_that_is_no_mapping_is_told_in_one_line(root, text):
    (root / "params.yaml").write_text(text, encoding="utf-8")
    assert "params.yaml: " in complaint(root)


def test_no_file_at_all_is_told_in_one_line(tmp_path):
    assert re.search("params.yaml: .*No such file", complaint(tmp_path))


def test_a_collect_section_that_is_no_mapping_is_told(root):
    spoil(root, "collect", 5)
    assert complaint(root) == "params: collect should be a section, found 5"


def test_a_methods_own_section_is_found_by_its_name(root):
    spoil(root, "methods.masked_cartoongan.erode_px", 3)
    assert load_methods(root)["masked_cartoongan"]["erode_px"] == 3
    assert load_methods(root)["cartoongan"] == {}


@pytest.mark.parametrize(
    ("name", "value", "file", "stage", "told"),
    [  # not even the stage's own section; and what only the method knows
        ("train.epochs", 0, "profiles/sample.yaml", ["clean"], r"portraitist: train\.epochs: .*, found 0"),
        (
            "methods.masked_cartoongan.erode_px",
            9,
            "params.yaml",
            ["train", "masked_cartoongan"],
            r"train masked_cartoongan: methods\.masked_cartoongan\.erode_px: .*, found 9",
        ),
        (
            "methods.pix2pix.distance",
            -100,
            "params.yaml",
            ["train_generator"],
            r"portraitist: methods\.pix2pix\.distance: .*, found -100",
        ),
    ],
)
def test_a_stage_with_wrong_params_says_one_line_and_makes_nothing(root, name, value, file, stage, told):
    spoil(root, name, value, file)
    before = sorted(root.rglob("*"))
    command = [sys.executable, "-m", f"pipeline.{stage[0]}", *stage[1:], *(f"no/{place}" for place in range(9))]
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    done = subprocess.run(
        command, cwd=root, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert re.fullmatch(told, done.stderr.rstrip("\n"))
    assert done.stdout == ""
    assert sorted(root.rglob("*")) == before
