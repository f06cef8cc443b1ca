"""Write the model card: training data, metrics, licence and limits of an exported model."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from portraitist.core import manifest
from portraitist.stats.headline import Results
from portraitist.stats.rounding import shown

CARD = """\
---
license: other
library_name: portraitist
pipeline_tag: image-to-image
tags: [portrait, avatar, style-transfer, onnx]
---

# Portraitist: {method}, {side} px

Turns selfies into avatars that look hand-painted. Trained with Portraitist.

    pip install '.[app]'    # in a clone of Portraitist's repository
    portraitist paint selfie.jpg -o avatar.png --model FOLDER_OF_THIS_FILE

`portraitist.onnx` is self-contained: the generator, and in its metadata the face detector, the segmenter and the
parameters for cropping and masking a selfie. If the model can paint in the style of an example (`--like`), the metadata
also contain a second generator, which paints only these avatars. If present, `portraitist.fp16.onnx` and
`portraitist.int8.onnx` store the generator's weights in 16 and 8 bits.

## Data

{data}

## Metrics

Measured on {faces} test selfies, which were not used for training, with 95 % confidence intervals. `docs/evaluation.md`
in the repository explains each metric. Distances with `lite0` or `lite2` in their name use features of EfficientNet.
They cannot be compared with FID or KID.

| metric | selfies, unchanged | {method} |
|:--|:--|:--|
{metrics}

## Licence

Code and MediaPipe models: Apache-2.0 (the notice is in the metadata). The training pictures have terms of their own,
which may restrict the use of the weights: CelebA, for example, permits non-commercial research only; the sample is CC0.

## Limits

- Faces must be frontal to about three-quarter view; profiles, hidden eyes and very small faces are rejected.
- Avatars of persons unlike those in the training pictures (skin, age, clothes, glasses) may be worse. The pipeline's
  report, metrics/report.html, has the metrics of several groups.
- Trained on crops of {side} px. Larger avatars have finer brushwork, or are enlarged if the network fixes the size.
- Not for identifying people, and not for pictures of people who have not agreed.
"""


def model_card(
    metadata: Mapping[str, Any], results: Results, unchanged: Results, training_data: Iterable[tuple[str, str]]
) -> str:
    """Return the text of the model card, in the format of Hugging Face.

    Args:
        metadata: metadata of the model file.
        results: metrics of the method.
        unchanged: metrics of the unchanged selfies.
        training_data: source and kind ("selfies" or "portraits") of each training picture.
    """
    method = metadata["method"]
    counts = Counter(training_data)
    data = [f"- {count} {kind} of source `{source}`" for (source, kind), count in sorted(counts.items())]
    rows = [f"| {name} | {_shown(unchanged.get(name))} | {_shown(results[name])} |" for name in sorted(results)]
    return CARD.format(
        method=method,
        side=metadata["crop"]["size_px"],
        data="\n".join(data) or "- unknown",
        faces=max((result["n"] for result in results.values()), default=0),
        metrics="\n".join(rows),
    )


def _shown(result: Mapping[str, Any] | None) -> str:
    return shown(result["value"], result["low"], result["high"]) if result else ""


def read_training_data(clean: Path, crops: Path, split: Path) -> list[tuple[str, str]]:
    """Return the source and the kind of each face in the train part.

    The source is "unknown" if the face or its picture is missing in the manifests.

    Args:
        clean: output of stage `clean`.
        crops: output of stage `crop`.
        split: CSV with the part of each face.
    """
    sources = manifest.kept_rows(clean / "manifest.csv").set_index("id")["source"]
    pictures = manifest.kept_rows(crops / "manifest.csv").set_index("id")["picture"]
    return [
        (sources.get(pictures.get(face), "unknown"), kind)
        for kind in manifest.KINDS
        for face in manifest.split_ids(split, kind, "train")
    ]
