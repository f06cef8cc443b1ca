"""A report of two methods and the unchanged selfies, with hostile text in its metadata."""

import numpy as np
import pandas as pd
from comparison_toys import RESULTS, draws, result
from reach import ROOT

from portraitist.compare.html_report import STAGE_REPORTS, RunInputs, report
from portraitist.compare.tables import Comparison, coverage, differences, differences_from_unchanged, long_table
from portraitist.core.image_io import encode_jpeg, encode_png
from portraitist.stats.win_rates import win_rates

INJECTION = '<script>alert(1)</script><img src="http://127.0.0.1:9/x.png" onerror=alert(1)>'
PICTURE = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)


def run_inputs(reports):
    return RunInputs(ROOT / "params.yaml", ROOT / "profiles" / "sample.yaml", ROOT / "dvc.yaml", reports)


def write_stage_reports(folder):
    for stage in STAGE_REPORTS:
        (folder / f"{stage}.json").write_text('{"selfies": {"kept": 63}, "<b>": 1}')
    return folder


def make_comparison():
    methods = {"selfies": RESULTS["theirs"], "theirs": RESULTS["theirs"], "ours": RESULTS["ours"]}
    details = {"code": "0123456789ab", "network": INJECTION}
    results = {
        method: {metric: entry | {"details": details} for metric, entry in metrics.items()}
        for method, metrics in methods.items()
    }
    results["ours"]["iou"] = results["ours"]["iou"] | {"description": INJECTION}
    held_out = {"mask_iou_held_out": result(0.8, 0.7, 0.9), "painted_rate_held_out": result(0.98, 0.95, 1.0)}
    for method, painted in (("selfies", 0.0), ("theirs", 0.5), ("ours", 0.75)):
        results[method]["painted_rate"] = result(painted, painted - 0.05, painted + 0.05, 1.0, **details)
    ids = [f"{number:02d}" for number in range(40)]
    groups = pd.DataFrame({"id": ids, "tone": [INJECTION] * 33 + ["dark"] * 7})
    faces = {method: pd.DataFrame({"id": ids, "iou": np.linspace(0, 1, 40)}) for method in results}
    draws_of = {"ours": draws(), "theirs": draws(0.1), "selfies": draws(0.1)}
    answers = [("1", "ours", "theirs", "ours"), ("2", "theirs", "ours", "theirs")] * 4
    return Comparison(
        "ours",
        results,
        held_out,
        long_table(results | {"held_out": held_out}),
        differences("ours", results, draws_of, faces),
        differences_from_unchanged(results, draws_of, faces),
        coverage(groups, faces, ()),
        win_rates(pd.DataFrame(answers, columns=["id", "left", "right", "preferred"])),
    )


def write_report(root, comparison, stage_reports):
    """Write the report and the pictures of each method into a folder; return the path of report.html."""
    folders = {}
    for method in comparison.results:
        folders[method] = root / method
        folders[method].mkdir()
        (folders[method] / "iou.jpg").write_bytes(encode_jpeg(PICTURE))
        for name in ("stylized", "learned_mask"):
            (folders[method] / f"{name}.png").write_bytes(encode_png(PICTURE))
    path = root / "report.html"
    html = report(run_inputs(stage_reports), comparison, folders, encode_jpeg(PICTURE))
    path.write_text(html, encoding="utf-8")
    return path
