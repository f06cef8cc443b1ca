"""Write the model that the Python package contains, from a finished run of the pipeline; not a stage.

python -m pipeline.ship --project . --selection data/shipped.yaml --out src/portraitist/shipped
"""

import json

import yaml

from pipeline.stage import path_options
from portraitist.core.params import validate
from portraitist.export.ship import Selection, ship


def main() -> None:
    """Write the generator, its checksum, model card, licence notice and list of portraits; print what was written."""
    project, selection, out, titles = path_options("project", "selection", "out", optional=["titles"])
    chosen = validate(Selection, "shipped", {"shipped": yaml.safe_load(selection.read_text("utf-8"))}, {})
    print(json.dumps(ship(project, chosen, titles, out), indent=2))


if __name__ == "__main__":
    main()
