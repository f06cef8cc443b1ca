"""The shape of params.yaml and of profiles/<profile>.yaml: one section a stage, typed, bounded, frozen.

params.yaml holds what a method is, the profile how large it runs (limits, sizes, epochs). A section is the union of
both; a key stands in one of them only.
"""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0)]
Rate = Annotated[float, Field(gt=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
PairKind = Literal["review", "folder", "nearest"]
MaskModel = Literal["refined", "selfie", "u2net_human_seg"]
S = TypeVar("S", bound="Section")


class ParamsError(ValueError):
    """A params file says something that cannot be; the message names the key, what was found, what is allowed."""


class Section(BaseModel):
    """One section of params.yaml. Unknown keys are refused; values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False)


class FetchParams(Section):
    """How sources ask the web. Keys of interfaces are no params: they come from the environment."""

    contact: Annotated[
        str, Field(pattern=r"^[!-~]*$")
    ]  # an address or page of yours; sites are told it. No web without
    seconds_per_host: Annotated[float, Field(ge=0)]  # at least so long between two requests
    respect_robots: bool  # robots.txt and X-Robots-Tag; false is for those who have the site's leave
    max_mb: Annotated[float, Field(gt=0)]  # of a picture's file
    deadline_s: Annotated[float, Field(gt=0)]  # of one answer, however slowly it drips
    connections: Annotated[int, Field(ge=1, le=256)]


class CollectParams(Section):
    """What every source is told; those below are told more."""

    path: Path  # what you give it: pictures, or answers that you saved; an empty folder, if it shall ask the web
    limit: Annotated[int, Field(ge=0)]  # pictures that are kept, of each kind; 0 leaves the source out
    shard_size: Count


class CelebaParams(CollectParams):
    """Which of CelebA's pictures are taken."""

    download: bool  # by torchvision's downloader into path, if nothing is there
    max_roll_degrees: Annotated[float, Field(ge=0, le=180)]  # of the line between the eyes
    max_turn: Share  # how far the nose is off the middle between the eyes, as a share of their distance
    without: list[str]  # attributes that a picture may not have
    shares: list[str]  # attributes by which the pictures are taken in equal shares


class SearchParams(CollectParams):
    """What is searched for, and as which kind it is kept."""

    kind: Literal["selfies", "portraits"]
    queries: Annotated[list[str], Field(min_length=1)]


class LicensedParams(SearchParams):
    """A search among pictures whose licence is known."""

    licences: Annotated[list[Literal["cc0", "pdm", "by", "by-sa"]], Field(min_length=1)]


class TaobaoParams(CollectParams):
    """What buyers' photos of paintings become."""

    seam: Share  # how clear the line between a photo and the painting beside it must be; 1 splits none
    photo: Literal["left", "right"]  # which side of it, or upper and lower, is the photo


class EachKind(Section):
    """A threshold of each kind of picture."""

    selfies: Weight
    portraits: Weight


class CleanParams(Section):
    """What a picture must be to stay."""

    min_side_px: Annotated[int, Field(ge=16)]
    max_megapixels: Annotated[float, Field(gt=0)]
    max_side_px: Annotated[int, Field(ge=64)]  # larger ones are scaled down to it
    max_megabytes: Annotated[float, Field(gt=0)]
    max_aspect: Annotated[float, Field(ge=1)]  # the longer side by the shorter
    min_entropy_bits: Annotated[float, Field(ge=0, le=8)]  # of the shades of grey: less is a blank wall
    min_sharpness: EachKind  # variance of the Laplacian at 256 px
    same_within_bits: Annotated[int, Field(ge=0, le=16)]  # of 64 bits of dHash: closer may be the same picture,
    same_correlation: Share  # and is, if their shades agree so well, too
    task_memory_mb: Annotated[int, Field(ge=512)]  # of address space: what one file may take
    task_cpu_s: Count
    task_wall_s: Annotated[float, Field(gt=0)]
    shard_size: Count


class CropParams(Section):
    """How a face becomes a square."""

    size_px: Annotated[int, Field(ge=32, multiple_of=16)]
    eye_line: Share  # height of the eyes in the crop, from its top
    eye_to_mouth: Annotated[float, Field(gt=0.05, lt=0.5)]  # as a share of the crop
    closest_eye_to_mouth: Annotated[float, Field(gt=0.05, lt=0.5)]  # the same, where the picture ends around the face
    min_score: Share
    max_upscale: Annotated[float, Field(gt=0)]  # a smaller face is refused
    min_inside: Share  # of the crop that lies in the picture
    faces: Literal["largest", "each"]  # of a picture that shows several
    large: Share  # of the largest one's side: with `each`, smaller ones are bystanders
    workers: Count  # processes; no result depends on it
    shard_size: Count


class MaskParams(Section):
    """How the person is told from the background."""

    model: MaskModel  # the last one is downloaded
    min_person: Share  # of the crop; less is refused
    max_person: Share
    workers: Count  # processes; no result depends on it
    shard_size: Count


class SplitParams(Section):
    """Which share of the groups is trained on, looked at, and tested on. The rest after both is for the test."""

    salt: str
    train: Share
    validation: Share
    near_bits: Annotated[int, Field(ge=0, le=20)]  # of 64 bits of dHash: pictures as close may not be on two sides

    @model_validator(mode="after")
    def _leaves_a_test(self) -> "SplitParams":
        if self.train + self.validation >= 1:
            raise ValueError(f"train {self.train} and validation {self.validation} leave nothing for the test")
        return self


class AugmentParams(Section):
    """Which persons stand on which backgrounds."""

    seed: Seed
    backgrounds: Annotated[list[Literal["solid", "gradient", "noise", "checks", "blur", "room"]], Field(min_length=1)]
    folder: Path  # pictures of your own that rooms are taken from
    rooms: Annotated[int, Field(ge=0)]  # the library's size
    per_person: Annotated[int, Field(ge=1)]  # recipes a person, the own background among them
    light_wrap: Share  # of the background's light that reaches over the person's edge
    flip: Share
    turn_degrees: Annotated[float, Field(ge=0, le=45)]
    zoom: Annotated[float, Field(ge=0, lt=0.5)]
    shift: Annotated[float, Field(ge=0, lt=0.5)]  # as a share of the side
    brightness: Share
    hue: Annotated[float, Field(ge=0, le=0.5)]
    shard_size: Count


class GeneratorParams(Section):
    """The shape of the generator that stage 1 begins and CartoonGAN and ours go on with: 64 and 8 in the paper."""

    width: Annotated[int, Field(ge=4, multiple_of=2)]
    blocks: Count
    skips: bool  # from the way down to the way up; the paper has none


class ScheduleParams(Section):
    """How long a training runs, and on what."""

    seed: Seed
    epochs: Count
    batch: Count  # of all processes together
    loader_workers: Annotated[int, Field(ge=0)]  # processes that prepare batches ahead; no result depends on it
    threads: Count  # of the CPU; fixed, for sums depend on it: equal bytes with any number of cores
    precision: Literal["float32", "bfloat16"]  # of what networks reckon with; weights are float32 always
    compile: bool  # networks by torch.compile, which asks for a C++ compiler


class ContentParams(Section):
    """What the content loss of stages 1 and 3 compares."""

    network: Literal["lite0", "vgg19"]  # the last one is downloaded


class TrainGeneratorParams(ScheduleParams):
    """Stage 1: the generator learns to give back what it sees."""

    learning_rate: Rate


class TrainMaskParams(ScheduleParams):
    """Stage 2: the U-Net learns to tell the person from the background."""

    width: Annotated[int, Field(ge=4)]
    learning_rate: Rate


class TrainParams(ScheduleParams):
    """Stage 3 and every method's own training: what all methods share, so that they can be compared."""

    learning_rate: Rate
    content_weight: Weight
    average: Rate  # decay of the generator's running mean
    painting_steps: Count  # of a method that trains nothing and optimises each picture


class EvaluateParams(Section):
    """How the avatars are measured."""

    seed: Seed
    features_px: Annotated[int, Field(ge=32, multiple_of=32)]  # side of what EfficientNet-Lite0 sees
    inception: bool  # FID and KID too: Inception-v3's weights, 96 MB, are fetched once
    bootstrap: Count  # resamplings behind each interval
    sheet_rows: Count


class EachPrecision(Section):
    """A bound for the weights as they are, as halves, and in eight bits; in steps of 255."""

    fp32: Weight
    fp16: Weight
    int8: Weight


class ExportParams(Section):
    """Which model leaves the house, and how exactly what it paints must agree with torch."""

    method: str
    max_error: EachPrecision
    mean_error: EachPrecision

    @field_validator("method")
    @classmethod
    def _is_one_of_methods(cls, method: str) -> str:
        if method not in method_names():
            raise ValueError(f"there is no such method; there are {', '.join(method_names())}")
        return method


def method_names() -> list[str]:
    """The files in methods/, found without importing any: a stage that trains nothing needs no torch."""
    return sorted(path.stem for path in (Path(__file__).parent / "methods").glob("[!_]*.py"))


SOURCES: dict[str, type[CollectParams]] = {
    "sample": CollectParams,
    "folder": CollectParams,
    "urls": CollectParams,
    "celeba": CelebaParams,
    "id_photos": CollectParams,
    "baidu": SearchParams,
    "google": SearchParams,
    "bing": SearchParams,
    "google_api": SearchParams,
    "taobao": TaobaoParams,
    "commons": LicensedParams,
    "met": SearchParams,
    "openverse": LicensedParams,
    "flickr": LicensedParams,
}
SECTIONS: dict[str, type[Section]] = {
    "fetch": FetchParams,
    "clean": CleanParams,
    "crop": CropParams,
    "mask": MaskParams,
    "split": SplitParams,
    "augment": AugmentParams,
    "generator": GeneratorParams,
    "content": ContentParams,
    "train_generator": TrainGeneratorParams,
    "train_mask": TrainMaskParams,
    "train": TrainParams,
    "evaluate": EvaluateParams,
    "export": ExportParams,
}
WHOLE_FILE = {"profile", "seed", "launch", "collect", "methods", *SECTIONS}
IN_PROFILE = {"collect", *SECTIONS} - {"fetch", "split", "content", "export"}  # what dvc.yaml tracks of it


def load(section: type[S], name: str, root: Path = Path()) -> S:
    """The named section ("crop", or "collect.sample") of root/params.yaml, joined with that of its profile.

    Every stage's section is checked, not only this one: a wrong value stops the first stage, not the last.

    Raises:
        ParamsError: A file is missing or malformed, a key unknown or doubled, a value of the wrong type or bounds.
    """
    params, profile = _files(root)
    for other, shape in SECTIONS.items():
        _checked(shape, other, params, profile)
    for method in _part(params, "methods"):
        if method not in method_names():
            raise ParamsError(f"params.yaml: methods.{method}: no such method; there are {', '.join(method_names())}")
    for source in _part(params, "collect"):
        _checked(_source_shape(source), f"collect.{source}", params, profile)
    return _checked(section, name, params, profile)


def load_or_exit(section: type[S], name: str) -> S:
    """As `load`, for a stage: a wrong params file is one line and exit code 1, not a traceback."""
    try:
        return load(section, name)
    except ParamsError as error:
        sys.exit(f"portraitist: {error}")


def source_or_exit(name: str) -> tuple[Any, FetchParams]:
    """A source's own section, in its own shape, and how it asks the web."""
    fetching = load_or_exit(FetchParams, "fetch")
    try:
        return load(_source_shape(name), f"collect.{name}"), fetching
    except ParamsError as error:
        sys.exit(f"portraitist: {error}")


def _source_shape(name: str) -> type[CollectParams]:
    if name not in SOURCES:
        raise ParamsError(f"params.yaml: collect.{name}: no such source; there are {', '.join(sorted(SOURCES))}")
    return SOURCES[name]


def methods_or_exit(root: Path = Path()) -> dict[str, dict[str, Any]]:
    """Every method's own section, in the order of params.yaml: which there are, and how they are told apart."""
    try:
        params = _files(root)[0]
        return {name: _part(params, f"methods.{name}") for name in _part(params, "methods")}
    except ParamsError as error:
        sys.exit(f"portraitist: {error}")


def method_or_exit(name: str, root: Path = Path()) -> dict[str, Any]:
    """A method's own section, unchecked: the method itself knows its shape."""
    try:
        return _part(_files(root)[0], f"methods.{name}")
    except ParamsError as error:
        sys.exit(f"portraitist: {error}")


def _files(root: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    params = _read(root / "params.yaml")
    unknown = sorted(set(params) - WHOLE_FILE)
    if unknown:
        raise ParamsError(f"params.yaml: unknown section {unknown[0]!r}; allowed are {', '.join(sorted(WHOLE_FILE))}")
    for key in ("profile", "seed", "launch", "collect", "methods"):
        if key not in params:
            raise ParamsError(f"params.yaml: {key!r} is missing")
    profiles = sorted(path.stem for path in (root / "profiles").glob("*.yaml"))
    if params["profile"] not in profiles:
        raise ParamsError(f"params.yaml: profile is {params['profile']!r}; there are {', '.join(profiles)}")
    profile = _read(root / "profiles" / f"{params['profile']}.yaml")
    unknown = sorted(set(profile) - IN_PROFILE)
    if unknown:
        allowed = ", ".join(sorted(IN_PROFILE))
        raise ParamsError(f"profiles/{params['profile']}.yaml: unknown section {unknown[0]!r}; allowed are {allowed}")
    return params, profile


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ParamsError(f"{path}: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ParamsError(f"{path}: a mapping of sections was expected, found {type(content).__name__}")
    return content


def _part(content: dict[str, Any], name: str) -> dict[str, Any]:
    for key in name.split("."):
        found = content.get(key) or {}
        if not isinstance(found, dict):
            raise ParamsError(f"params: {name} should be a section, found {found!r}")
        content = found
    return content


def _checked(section: type[S], name: str, params: dict[str, Any], profile: dict[str, Any]) -> S:
    here, scale = _part(params, name), _part(profile, name)
    doubled = sorted(set(here) & set(scale))
    if doubled:
        raise ParamsError(f"{name}.{doubled[0]} stands in params.yaml and in the profile; one must go")
    seed = {"seed": params["seed"]} if "seed" in section.model_fields else {}
    try:
        return section.model_validate(here | scale | seed)
    except ValidationError as error:
        raise ParamsError(told(name, error)) from None


def told(name: str, error: ValidationError) -> str:
    """A validation error as one line a fault: the key, what was found, what is allowed."""
    lines = []
    for fault in error.errors(include_url=False):
        key = ".".join([name, *map(str, fault["loc"])])
        found = "" if fault["type"] == "missing" else f", found {fault['input']!r}"
        lines.append(f"{key}: {fault['msg']}{found}")
    return "; ".join(lines)
