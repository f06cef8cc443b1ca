import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib import import_module

import pytest
import yaml
from dvc_stages import stages
from pydantic import ValidationError
from reach import ROOT

from portraitist.all_params import SECTIONS, check_all
from portraitist.clean.params import CleanParams
from portraitist.core.params import ParamsError, Section, load, load_methods, subsection, validate
from portraitist.train.params import TrainParams

PROFILE = "profiles/sample.yaml"
PARAMS = (ROOT / "params.yaml").read_text(encoding="utf-8")


@pytest.fixture
def root(tmp_path):
    """A copy of the project's params.yaml and profiles, for tests to change."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "profiles", tmp_path / "profiles")
    return tmp_path


def set_value(root, name, value, file="params.yaml"):
    """Set the value at a dotted name, creating sections that are missing."""
    content = yaml.safe_load((root / file).read_text(encoding="utf-8"))
    *sections, key = name.split(".")
    inner = content
    for section in sections:
        inner = inner.setdefault(section, {})
    inner[key] = value
    (root / file).write_text(yaml.safe_dump(content), encoding="utf-8")


def delete(root, name):
    content = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    *sections, key = name.split(".")
    inner = subsection(content, ".".join(sections)) if sections else content
    del inner[key]
    (root / "params.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")


def error_of_check_all(root):
    with pytest.raises(ParamsError) as error:
        check_all(root)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("profile", ["sample", "local", "cpu", "full"])
def test_every_profile_is_valid(root, profile):
    set_value(root, "profile", profile)
    check_all(root)
    for name, section in SECTIONS.items():
        assert isinstance(load(section, name, root), section)
    assert all(isinstance(section, dict) for section in load_methods(root).values())


def test_null_value_is_taken_from_profile(root):
    set_value(root, "seed", 9)
    set_value(root, "train.epochs", None)
    set_value(root, "train.epochs", 7, PROFILE)
    params = load(TrainParams, "train", root)
    assert (params.seed, params.epochs) == (9, 7)
    set_value(root, "train.epochs", 3)
    assert load(TrainParams, "train", root).epochs == 3


def test_shard_size_is_shared_and_limits_are_per_source():
    class Source(Section):
        limit: int
        shard_size: int

    params = {"shard_size": None, "limits": {"web": None, "own": 4}, "collect": {"web": {}, "own": {}}}
    profile = {"shard_size": 50, "limits": {"web": 8}}
    assert validate(Source, "collect.web", params, profile) == Source(limit=8, shard_size=50)
    assert validate(Source, "collect.own", params, profile) == Source(limit=4, shard_size=50)
    assert validate(Source, "collect.own", params | {"shard_size": 6}, profile) == Source(limit=4, shard_size=6)


@pytest.mark.parametrize(
    ("params", "profile", "name"),
    [
        ({"one": {}}, {"one": {"size": 1}}, "one.size"),
        ({"one": {"size": 1}}, {"one": {"size": 1, "side": 1}}, "one.side"),
    ],
)
def test_profile_key_must_be_in_params(params, profile, name):
    class Sized(Section):
        size: int

    with pytest.raises(ParamsError, match=f"{name} is in the profile but not in params.yaml.*null"):
        validate(Sized, "one", params, profile)


def test_load_validates_only_its_own_section(root):
    set_value(root, "crop.min_score", 1.5)
    assert load(CleanParams, "clean", root)
    set_value(root, "clean.min_side_px", 15)
    with pytest.raises(ParamsError, match=r"clean\.min_side_px: .*greater than or equal to 16, found 15"):
        load(CleanParams, "clean", root)


def method_sections():
    modules = (import_module(f"portraitist.methods.{name}") for name in yaml.safe_load(PARAMS)["methods"])
    return {module.__name__: module.Params for module in modules if "Params" in vars(module)}


def test_every_number_has_a_lower_bound():
    sections, unbounded = SECTIONS | method_sections(), []
    assert len(sections) > 20
    for name, section in sections.items():
        schema = section.model_json_schema()
        for model in (schema, *schema.get("$defs", {}).values()):
            for key, value in model.get("properties", {}).items():
                numbers = [kind for kind in value.get("anyOf", [value]) if kind.get("type") in ("number", "integer")]
                if any(not {"minimum", "exclusiveMinimum"} & kind.keys() for kind in numbers):
                    unbounded.append(f"{name}: {key}")
    assert not unbounded


def test_sections_are_immutable(root):
    with pytest.raises(ValidationError, match="frozen"):
        load(CleanParams, "clean", root).min_side_px = 3


@pytest.mark.parametrize(
    ("name", "value", "pattern"),
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
        ("split.train", 0.96, "split: .*train 0.96 .*validation 0.05 "),
        ("augment.backgrounds", [], "augment.backgrounds: .*at least 1 item"),
        ("augment.backgrounds", ["solid", "beach"], "augment.backgrounds.1: .*, found 'beach'"),
        ("train.learning_rate", 0, "train.learning_rate: .*greater than 0, found 0"),
        ("train.content_weight", float("nan"), "train.content_weight: .*finite number, found nan"),
        ("train.content_weight", float("inf"), "train.content_weight: .*finite number, found inf"),
        ("evaluate.features_px", 100, "evaluate.features_px: .*multiple of 32, found 100"),
        ("export.method", "magic", "export.method: .*attention_gan, .*found 'magic'"),
        ("export.max_error.int8", -1, "export.max_error.int8: .*greater than or equal to 0, found -1"),
        ("methods.magic", {}, "methods: unknown key 'magic'; allowed: arbitrary_style_with_background, "),
        ("collect.gallery", {}, "collect: unknown key 'gallery'; allowed: baidu, bing, celeba, "),
        ("collect.sample.selfie", "x", "collect.sample.selfie: Extra inputs are not permitted, found 'x'"),
        ("collect.baidu.queries", [], "collect.baidu.queries: .*at least 1 item"),
        ("collect.baidu.licences", ["by"], "collect.baidu.licences: Extra inputs are not permitted"),
        ("collect.commons.licences", ["by-nc"], "collect.commons.licences.0: .*, found 'by-nc'"),
        ("collect.taobao.min_seam", 1.5, "collect.taobao.min_seam: .*less than or equal to 1, found 1.5"),
        ("fetch.contact", "me at home", "fetch.contact: .*, found 'me at home'"),
        ("seed", -1, "seed: .*greater than or equal to 0, found -1"),
        ("cleaning.min_side_px", 64, "params.yaml: unknown key 'cleaning'; allowed: .*clean, "),
        ("clean", 3, "clean must be a mapping, found 3"),
        ("collect", 5, "collect must be a mapping, found 5"),
        ("methods", [1], r"methods must be a mapping, found \[1\]"),
        ("profile", "huge", "params.yaml: profile is 'huge'; available profiles: cpu, full, local, sample"),
        ("clean.shard_size", 100, r"clean.shard_size: unknown key \(value 100\); set the top-level key 'shard_size'"),
        ("collect.sample.limit", 7, r"collect.sample.limit: unknown key \(value 7\); set limits "),
        ("shard_size", 0, "shard_size: .*greater than or equal to 1, found 0"),
        ("limits.sample", 0, "limits.sample: .*greater than or equal to 1, found 0"),
        ("sources", [], r"sources is \[\]: expected a list of at least one source; available sources: baidu, "),
        ("sources", "sample", "sources is 'sample': expected a list of .*; available sources: baidu, "),
        ("sources", ["samples"], r"sources is \['samples'\]: unknown source 'samples'; available sources: baidu, "),
        ("sources", ["met", "met"], r"sources is \['met', 'met'\]: source 'met' is repeated; available sources: "),
        ("limits.gallery", 5, "limits: unknown key 'gallery'; allowed: baidu, bing, celeba, "),
    ],
)
def test_invalid_value_is_reported_with_key_and_range(root, name, value, pattern):
    set_value(root, name, value)
    assert re.search(pattern, error_of_check_all(root))


@pytest.mark.parametrize(
    ("name", "value", "pattern"),
    [
        ("crop.size_px", 100, "crop.size_px: .*multiple of 16, found 100"),
        ("crop.size", 96, "crop.size is in the profile but not in params.yaml"),
        ("generator.base_channels", 5, "generator.base_channels: .*multiple of 2, found 5"),
        ("train.epochs", 0, "train.epochs: .*greater than or equal to 1, found 0"),
        ("trane.epochs", 1, "profiles/sample.yaml: unknown key 'trane'"),
        ("seed", 7, "profiles/sample.yaml: unknown key 'seed'; allowed: augment, crop, evaluate"),
        ("content.network", "vgg19", "profiles/sample.yaml: unknown key 'content'"),
        ("limits.gallery", 5, "profiles/sample.yaml: limits: unknown key 'gallery'; allowed: baidu, "),
    ],
)
def test_profile_is_validated_as_strictly(root, name, value, pattern):
    set_value(root, name, value, PROFILE)
    assert re.search(pattern, error_of_check_all(root))


def test_source_without_a_limit_is_named(root):
    content = yaml.safe_load((root / PROFILE).read_text(encoding="utf-8"))
    del content["limits"]["sample"]
    (root / PROFILE).write_text(yaml.safe_dump(content), encoding="utf-8")
    assert error_of_check_all(root).startswith("limits.sample: found no value in params.yaml or in the profile; set ")


def test_missing_key_is_named(root):
    delete(root, "crop.eye_line")
    assert error_of_check_all(root) == "crop.eye_line: Field required"


@pytest.mark.parametrize("key", ["profile", "seed", "launch", "sources", "limits", "shard_size", "collect", "methods"])
def test_missing_top_level_key_is_named(root, key):
    delete(root, key)
    advice = "; add `profile: NAME` with the name of a file in profiles/" if key == "profile" else ""
    assert error_of_check_all(root) == f"params.yaml: {key!r} is missing{advice}"


def test_all_errors_of_a_section_are_reported(root):
    set_value(root, "crop.eye_line", 2)
    set_value(root, "crop.min_score", -1)
    assert re.search("crop.eye_line: .*found 2; crop.min_score: .*found -1", error_of_check_all(root))


@pytest.mark.parametrize("text", ["clean: [1, 2", "- a\n- b\n", "", "a: b: c"])
@pytest.mark.parametrize("file", ["params.yaml", PROFILE])
def test_malformed_file_is_reported_in_one_line(root, text, file):
    (root / file).write_text(text, encoding="utf-8")
    assert f"{file}: " in error_of_check_all(root)


def test_missing_file_is_reported_in_one_line(tmp_path):
    assert re.search(r"params\.yaml: .*No such file", error_of_check_all(tmp_path))


def test_load_methods_returns_sections_in_order(root):
    set_value(root, "methods.masked_cartoongan.erode_px", 3)
    methods = load_methods(root)
    written = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))["methods"]
    assert list(methods) == list(written)
    assert methods["masked_cartoongan"]["erode_px"] == 3
    assert methods["cartoongan"] == {}


def test_seed_is_passed_to_sections_that_have_one():
    class Seeded(Section):
        seed: int

    class Unseeded(Section):
        size: int

    params = {"seed": 7, "one": {}, "two": {"size": 1}}
    assert validate(Seeded, "one", params, {}).seed == 7
    assert validate(Unseeded, "two", params, {}).size == 1


@pytest.mark.parametrize(
    ("name", "value", "file", "stage"),
    [  # a section of another stage, and values that only the method's own class checks
        ("train.epochs", 0, PROFILE, "clean"),
        ("methods.masked_cartoongan.erode_px", 9, "params.yaml", "train@masked_cartoongan"),
        ("methods.pix2pix.lambda_l1", -100, "params.yaml", "train_generator"),
    ],
)
def test_stage_with_invalid_params_stops_before_any_output(root, name, value, file, stage):
    set_value(root, name, value, file)
    before = sorted(root.rglob("*"))
    command = [sys.executable, *shlex.split(stages()[stage]["cmd"])[1:]]
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    ran = subprocess.run(
        command, cwd=root, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert ran.stderr.count("\n") == 1
    assert re.search(rf"{re.escape(name)}: .*found {value}", ran.stderr)
    assert ran.stdout == ""
    assert sorted(path for path in root.rglob("*") if ".locks" not in path.parts) == before
