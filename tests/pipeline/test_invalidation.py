"""A change reruns the stages whose outputs it can change, and no other: dvc.yaml's dependencies, file by file."""

import pytest
from dvc_stages import PARAMS, VARS, stages, stale_after

METHODS = set(VARS["compared_methods"])
SOURCES = {f"collect@{name}" for name in PARAMS["collect"]}
EVALUATE = {f"evaluate@{method}" for method in METHODS} | {"evaluate_selfies"}
TRAIN = {f"train@{method}" for method in METHODS} | {"train_generator", "train_mask"}
PAINT = {f"paint@{method}" for method in METHODS}
LEARNING = TRAIN | PAINT | EVALUATE | {"export"}


@pytest.mark.parametrize(
    ("file", "stale"),
    [
        ("evaluate/params.py", EVALUATE),
        ("clean/decode.py", {"clean", "crop", "mask", "augment", "export"}),
        ("evaluate/distances.py", EVALUATE),
        ("clean/screening.py", {"clean"}),
        ("split/params.py", {"split"}),
        ("export/params.py", {"export", "compare"}),
        ("learning/losses.py", LEARNING),
        ("train/loop.py", TRAIN),
        ("reporting/contact_sheet.py", {"clean", "crop", "mask", "augment", "compare"} | EVALUATE),
        ("compare/html_report.py", {"compare"}),
        ("sources/taobao.py", {"collect@taobao"}),
        ("collect/params.py", SOURCES | {"sources"}),
        ("collect/http.py", SOURCES),
        ("collect/blocklist.py", SOURCES | {"clean"}),
        ("methods/cyclegan.py", {"train@cyclegan", "paint@cyclegan"}),
        ("methods/masked_stylizer.py", {"train@masked_stylizer", "paint@masked_stylizer", "export"}),
        ("app/server.py", set()),
        ("app/avatar.py", set()),
        ("tools/forget.py", set()),
        ("cli/painting.py", set()),
        ("all_params.py", set()),
        ("pipeline/stage.py", set()),
        ("pipeline/crop.py", {"crop"}),
        ("core/shards.py", set(stages()) - {"weights", "sources"}),
    ],
)
def test_edited_file_makes_exactly_these_stages_stale(file, stale):
    assert stale_after(file) == stale


def test_editing_params_of_one_stage_never_collects_again():
    for stage in ("clean", "crop", "mask", "split", "augment", "train", "evaluate", "export"):
        assert not stale_after(f"{stage}/params.py") & SOURCES, stage
