"""Stage export: models/<method>.pt -> models/portraitist: ONNX files, compared with PyTorch, and the model card."""

import json
import sys
from pathlib import Path

from pipeline.stage import load_or_exit, path_options
from portraitist.core.files import atomic_write
from portraitist.export.model_card import model_card, read_training_data
from portraitist.export.onnx_export import ExportError, export_model, load_compared_crops
from portraitist.export.params import ExportParams
from portraitist.learning.checkpoint import CheckpointError
from portraitist.paint import load_method
from portraitist.stats.headline import summary


def main() -> None:
    """Export the method that export.method names; write its headline metrics, and the errors of each precision."""
    models, pretrained, crops, masks, split, clean, results, out, headlines, report = path_options(
        "models", "pretrained", "crops", "masks", "split", "clean", "results", "out", "summary", "report"
    )
    params = load_or_exit(ExportParams, "export")
    metrics, unchanged = (_read_json(results / name / "metrics.json") for name in (params.method, "selfies"))
    try:
        method, metadata = load_method(models / f"{params.method}.pt")
        card = model_card(metadata, metrics, unchanged, read_training_data(clean, split))
        selfies, mask_arrays = load_compared_crops(crops, masks, split)
        errors = export_model(method, metadata, pretrained, params, selfies, mask_arrays, card, out)
    except (CheckpointError, ExportError) as error:
        sys.exit(f"export: {error}")
    _write_json({"method": params.method, **errors}, report)
    _write_json(summary(metrics), headlines)


def _read_json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def _write_json(content: dict, path: Path) -> None:
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
