"""Validation of the whole params.yaml, before any stage starts.

No stage of dvc.yaml depends on this module, because it can stop a run, but cannot change what a stage writes.
"""

from pathlib import Path

from portraitist.augment.params import AugmentParams
from portraitist.clean.params import CleanParams
from portraitist.collect.params import SOURCES, FetchParams
from portraitist.core.params import ParamsError, Section, load, load_methods, read_files, subsection, validate
from portraitist.core.workers import WorkersParams
from portraitist.crop.params import CropParams
from portraitist.evaluate.params import EvaluateParams
from portraitist.export.params import ExportParams
from portraitist.learning import method_names
from portraitist.learning.params import ContentParams, PaintParams
from portraitist.mask.params import MaskParams
from portraitist.split.params import SplitParams
from portraitist.train.params import GeneratorParams, TrainGeneratorParams, TrainMaskParams, TrainParams

SECTIONS: dict[str, type[Section]] = {
    "fetch": FetchParams,
    "workers": WorkersParams,
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
    "paint": PaintParams,
    "evaluate": EvaluateParams,
    "export": ExportParams,
}
REQUIRED_KEYS = ("profile", "seed", "launch", "sources", "limits", "shard_size", "collect", "methods")
TOP_LEVEL_KEYS = {*REQUIRED_KEYS, *SECTIONS}
PROFILE_KEYS = {"limits", "shard_size", *SECTIONS} - {
    "fetch",
    "clean",
    "mask",
    "split",
    "content",
    "paint",
    "export",
}  # sections that profiles may set


def check_all(root: Path = Path()) -> None:
    """Validate root/params.yaml and the profile that params.yaml selects.

    In section `methods`, only the names of the methods are checked; `check_methods` checks their parameters.

    Raises:
        ParamsError: a section or a key is unknown or missing, or a value is invalid.
    """
    params, profile = read_files(root)
    _check_known(params, TOP_LEVEL_KEYS, "params.yaml")
    for key in REQUIRED_KEYS:
        if key not in params:
            raise ParamsError(f"params.yaml: {key!r} is missing")
    _check_known(profile, PROFILE_KEYS, f"profiles/{params['profile']}.yaml")
    for name, section in SECTIONS.items():
        validate(section, name, params, profile)
    _check_known(subsection(params, "methods"), set(method_names()), "params.yaml: methods")
    for where, content in (("params.yaml", params), (f"profiles/{params['profile']}.yaml", profile)):
        _check_known(subsection(content, "limits"), set(SOURCES), f"{where}: limits")
    _check_known(subsection(params, "collect"), set(SOURCES), "params.yaml: collect")
    _check_sources(params["sources"])
    for source in subsection(params, "collect"):
        validate(SOURCES[source], f"collect.{source}", params, profile)


def check_methods(root: Path = Path()) -> None:
    """Validate the parameters of every method in section `methods` of root/params.yaml.

    Only trainings call this function, at their start, because it imports torch.

    Raises:
        ParamsError: a method does not exist, or a value is invalid.
    """
    from portraitist.learning.registry import method_settings

    shared = {name: load(SECTIONS[name], name, root).model_dump() for name in ("crop", "generator", "train")}
    for name, own in load_methods(root).items():
        method_settings(name, shared, own)


def _check_sources(found: object) -> None:
    """Check `sources`, the list of the sources from which pictures are collected."""
    names = found if isinstance(found, list) else []
    unknown = [name for name in names if name not in SOURCES]
    repeated = sorted({name for name in names if names.count(name) > 1}, key=str)
    if unknown:
        reason = f"unknown source {unknown[0]!r}"
    elif repeated:
        reason = f"source {repeated[0]!r} is repeated"
    elif not names:
        reason = "expected a list of at least one source"
    else:
        return
    raise ParamsError(f"params.yaml: sources is {found!r}: {reason}; available sources: {', '.join(sorted(SOURCES))}")


def _check_known(content: dict[str, object], allowed: set[str], where: str) -> None:
    unknown = sorted(set(content) - allowed)
    if unknown:
        raise ParamsError(f"{where}: unknown key {unknown[0]!r}; allowed: {', '.join(sorted(allowed))}")
