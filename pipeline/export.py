"""Stage export: models/<method>.pt -> models/portraitist. Write the model as ONNX files, with a model card."""

import json

from pipeline.stage import load_or_exit, path_options
from portraitist.core.files import write_json
from portraitist.export.model_card import model_card, read_training_data
from portraitist.export.onnx_export import export_model, load_compared_crops
from portraitist.export.params import ExportParams
from portraitist.paint import load_method
from portraitist.stats.headline import summary


def main() -> None:
    """Export the method `export.method`; write its headline metrics, and how much ONNX and PyTorch outputs differ."""
    models, pretrained, crops, masks, split, clean, results, out, headlines, report = path_options(
        "models", "pretrained", "crops", "masks", "split", "clean", "results", "out", "summary", "report"
    )
    params = load_or_exit(ExportParams, "export")
    metrics, unchanged = (
        json.loads((results / name / "metrics.json").read_bytes()) for name in (params.method, "selfies")
    )
    method, metadata = load_method(models / f"{params.method}.pt")
    card = model_card(metadata, metrics, unchanged, read_training_data(clean, crops, split))
    selfies, mask_arrays = load_compared_crops(crops, masks, split)
    errors = export_model(method, metadata, pretrained, params, selfies, mask_arrays, card, out)
    write_json(report, {"method": params.method, **errors})
    write_json(headlines, summary(metrics))


if __name__ == "__main__":
    main()
