"""`make verify` compares the metrics of a run with those in git, within their confidence intervals."""

import json
import subprocess
import sys

import pandas as pd
import pytest
from reach import ROOT

from pipeline import verify

TABLE = """Best of 2 methods.

All metrics, with 95 % confidence intervals:

| metric   | unchanged selfies   | ours              |
|:---------|:--------------------|:------------------|
| bleed    | -0.3 [-0.6, -0.1]   | 0.01 [-0.2, 0.15] |
| size     |                     | 0.7               |

ours minus each other method, on the same faces:
"""


def test_table_of_all_metrics_is_read():
    assert verify.committed_table(TABLE) == {
        ("bleed", "unchanged selfies"): (-0.3, -0.6, -0.1),
        ("bleed", "ours"): (0.01, -0.2, 0.15),
        ("size", "ours"): (0.7, 0.7, 0.7),
    }


@pytest.mark.parametrize(
    ("committed", "found", "expected"),
    [
        ((0.5, 0.4, 0.6), (0.55, 0.54, 0.56), True),
        ((0.5, 0.49, 0.51), (0.55, 0.4, 0.7), True),
        ((0.5, 0.4, 0.6), (0.7, 0.55, 0.85), False),
        ((0.713, 0.713, 0.713), (0.7131, 0.7131, 0.7131), True),
        ((0.713, 0.713, 0.713), (0.8, 0.8, 0.8), False),
    ],
)
def test_values_agree_within_an_interval(committed, found, expected):
    assert verify.agrees(committed, found) == expected


@pytest.fixture
def repository(tmp_path):
    """Two revisions with results, and a function that verifies a run with other values of `face_found` and bleed."""
    (tmp_path / "metrics" / "models" / "ours").mkdir(parents=True)
    git = ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    revisions = {
        "old": ({"faces_found": 0.9, "background_bleed": {"ours": 0.1}, "sharpness": 2.0}, "Best of 2 methods.\n"),
        "new": ({"faces_found": 0.9, "gflop": 0.4}, TABLE),
    }
    for tag, (summary, table) in revisions.items():
        (tmp_path / "metrics" / "summary.json").write_text(json.dumps(summary))
        (tmp_path / "metrics" / "compare.md").write_text(table)
        for words in (["add", "metrics"], ["commit", "-q", "-m", tag], ["tag", tag]):
            subprocess.run([*git, *words], check=True)

    def run(face_found, bleed, revision="new"):
        found = {"cost_gflop": (0.4, 0.4, 0.4)}
        if face_found is not None:
            found["face_found"] = face_found, face_found - 0.1, face_found + 0.05
        results = {name: dict(zip(("value", "low", "high"), row, strict=True)) for name, row in found.items()}
        (tmp_path / "metrics" / "models" / "ours" / "metrics.json").write_text(json.dumps(results))
        rows = [("bleed", "ours", bleed, bleed - 0.01, bleed + 0.01), ("size", "ours", 0.7, 0.7, 0.7)]
        frame = pd.DataFrame(rows, columns=["metric", "method", "value", "low", "high"])
        frame.to_csv(tmp_path / "metrics" / "compare.csv", index=False)
        code = f"import sys; from pipeline.verify import main; sys.exit(main('{revision}', 'ours'))"
        path = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PATH": "/usr/bin:/bin"}
        return subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=path, capture_output=True, text=True, check=False
        )

    return run


@pytest.mark.slow
def test_run_outside_the_intervals_is_not_verified(repository):
    equal = repository(0.92, 0.1)
    assert (equal.returncode, equal.stdout.splitlines()[-1]) == (0, "This run reproduces the committed results.")
    worse = repository(0.5, 0.1)
    assert worse.returncode == 1
    assert "faces_found of ours: committed 0.9, found 0.5 [0.4, 0.55]" in worse.stdout
    other = repository(0.92, 0.4)
    assert other.returncode == 1
    assert "bleed of ours: committed 0.01 [-0.2, 0.15], found 0.4 [0.39, 0.41]" in other.stdout


@pytest.mark.slow
def test_metrics_that_one_side_lacks_are_named(repository):
    ran = repository(0.92, 0.1, "old")
    assert ran.stdout.splitlines() == [
        "metrics/summary.json: 1 of 1 metrics of ours agree with old",
        "  missing in this run, not compared: sharpness",
        "  missing in old, not compared: gflop",
        "metrics/compare.md: not compared; it has no table of all metrics in old",
        "This run reproduces the committed results.",
    ]
    worse = repository(0.5, 0.1, "old")
    assert worse.returncode == 1
    assert "faces_found of ours: committed 0.9, found 0.5 [0.4, 0.55]" in worse.stdout


@pytest.mark.slow
def test_run_without_a_headline_metric_is_not_verified(repository):
    ran = repository(None, 0.1)
    assert ran.returncode == 1
    assert "missing in this run, not compared: faces_found" in ran.stdout
