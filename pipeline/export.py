"""Stage export: models/<method>.pt -> models/portraitist: ONNX files, compared with PyTorch, and the model card."""

import json
import sys

from pipeline.stage import load_or_exit, path_options
from portraitist.export.model_card import model_card, read_training_data
from portraitist.export.onnx_export import ExportError, export_model, load_compared_crops
from portraitist.export.params import ExportParams
from portraitist.learning.checkpoint import CheckpointError
from portraitist.paint import load_method


def main() -> None:
    """Export the method that export.method names; write how much each precision differs from PyTorch."""
    models, pretrained, crops, masks, split, clean, summary, out, report = path_options(
        "models", "pretrained", "crops", "masks", "split", "clean", "summary", "out", "report"
    )
    params = load_or_exit(ExportParams, "export")
    metrics = json.loads(summary.read_text(encoding="utf-8"))
    try:
        method, metadata = load_method(models / f"{params.method}.pt")
        card = model_card(metadata, metrics, read_training_data(clean, split))
        selfies, mask_arrays = load_compared_crops(crops, masks, split)
        errors = export_model(method, metadata, pretrained, params, selfies, mask_arrays, card, out)
    except (CheckpointError, ExportError) as error:
        sys.exit(f"export: {error}")
    report.write_text(json.dumps({"method": params.method, **errors}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
