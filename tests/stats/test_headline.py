import json

import numpy as np

from portraitist.stats.headline import HEADLINES, summary

RESULTS = {
    "painted_rate": (0.953, 0.921, 0.978),
    "foreground_kernel_lite2_share": (0.263, 0.214, 0.309),
    "face_landmark_error": (8.137, 7.64, 8.72),
    "face_found": (1.0, 0.985, 1.0),
    "background_repainted": (1.221, 0.883, 1.613),
    "background_bleed": (-0.0612, -0.256, 0.101),
    "cost_gflop": (1.6042, 1.6042, 1.6042),
    "cost_megabytes": (0.3822, 0.3822, 0.3822),
    "sharpness": (1.2, 1.1, 1.3),
}


def results(noise=0.0, seed=1):
    """Return results, to whose numbers noise is added: `noise` is its deviation, in half-widths of the interval."""
    rng = np.random.default_rng(seed)
    shifts = {name: noise * (high - low) / 2 for name, (_, low, high) in RESULTS.items()}
    return {
        name: dict(zip(("value", "low", "high"), np.array(numbers) + shifts[name] * rng.normal(size=3), strict=True))
        for name, numbers in RESULTS.items()
    }


def test_summary_has_eight_flat_numbers():
    assert list(summary(results())) == list(HEADLINES)
    assert summary(results()) == {
        "painted_rate": 0.95,
        "kernel_lite2_share": 0.26,
        "landmark_error": 8.1,
        "faces_found": 1.0,
        "repainted": 1.2,
        "bleed": -0.06,
        "gflop": 1.6,
        "megabytes": 0.382,
    }


def test_noise_below_the_interval_does_not_change_the_summary():
    expected = json.dumps(summary(results()))
    assert {json.dumps(summary(results(0.005, seed))) for seed in range(100)} == {expected}
    assert json.dumps(summary(results(2))) != expected


def test_missing_metric_is_left_out_of_the_summary():
    few = results()
    del few["face_found"]
    assert "faces_found" not in summary(few)
