"""A model's card: what it is, what it was made of, how good it is, what it may be used for, what it cannot do."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

CARD = """\
---
license: other
library_name: portraitist
pipeline_tag: image-to-image
tags: [portrait, avatar, style-transfer, onnx]
---

# Portraitist: {method}, {side} px

A selfie becomes a hand-painted avatar. Trained by https://github.com/portraitist/portraitist.

    pip install "portraitist[app]"
    portraitist paint selfie.jpg -o avatar.png --model FOLDER_OF_THIS_FILE

`portraitist.onnx` is all that is needed: generator, face detector, segmenter, and how to cut and mask a selfie, in its
metadata. `portraitist.fp16.onnx` and `portraitist.int8.onnx`, if they are here, hold the same weights in a half and a
quarter of the size; how far they are off stands in the repository's `metrics/export.json`.

## Data

{data}

## Metrics

On the test selfies of the data above. What each means: `docs/evaluation.md` of the repository. Distances are on
EfficientNet-Lite0's features and are no FID or KID.

| metric | selfies, unchanged | {method} |
|:--|--:|--:|
{metrics}

## Licence

Code and detector parts: Apache-2.0 (MediaPipe's models, their notice is in the metadata). The weights come under the
terms of the pictures they were trained on, named above: CelebA allows non-commercial research only; the shipped sample
is CC0.

## Limits

- Faces from the front to about three quarters; profiles, hidden eyes and very small faces are refused.
- A model paints all as it has seen it: persons whom the training pictures do not show (skin, age, dress, glasses) may
  come out worse. The pipeline's report counts groups.
- What it paints is {side} px wide; larger avatars are enlarged from that.
- Not for telling who somebody is, and not for pictures of persons who would not want it.
"""


Metrics = Mapping[str, Mapping[str, float]]  # by metric and method


def model_card(about: Mapping[str, Any], metrics: Metrics, trained: Iterable[tuple[str, str]]) -> str:
    """The card, in the form that Hugging Face reads; trained holds each picture's source and kind."""
    counts = Counter(trained)
    data = [f"- {count} {kind} of source `{source}`" for (source, kind), count in sorted(counts.items())]
    rows = [
        f"| {name} | {values.get('selfies', '')} | {values[about['method']]} |"
        for name, values in sorted(metrics.items())
        if about["method"] in values
    ]
    return CARD.format(
        method=about["method"],
        side=about["crop"]["size_px"],
        data="\n".join(data) or "- unknown",
        metrics="\n".join(rows),
    )
