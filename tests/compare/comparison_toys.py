"""Results of two methods with known values, and bootstrap draws."""

import numpy as np
import pandas as pd


def result(value, low, high, optimum=0.0, n=20, **details):
    return {
        "value": value, "low": low, "high": high, "n": n,
        "optimum": optimum, "unit": "", "description": "A description.", "details": details,
    }  # fmt: skip


RESULTS = {
    "ours": {
        "iou": result(0.9, 0.85, 0.95, optimum=1.0),
        "bleed": result(-0.1, -0.2, 0.1),
        "fid": result(3.0, 2.0, 4.0),
    },
    "theirs": {"iou": result(0.7, 0.6, 0.8, optimum=1.0), "bleed": result(0.5, 0.3, 0.7)},
}


def draws(shift=0.0, count=200):
    rng = np.random.default_rng(1)
    return pd.DataFrame({"iou": rng.normal(0.8, 0.02, count) + shift, "bleed": rng.normal(0, 0.05, count)})
