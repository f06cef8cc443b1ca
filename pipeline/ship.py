"""Write the model that the Python package contains, from a finished run of the pipeline; not a stage.

python -m pipeline.ship --project . --selection data/shipped.yaml --out src/portraitist/shipped
"""

import json
import sys

import yaml

from pipeline.stage import path_options
from portraitist.core.params import validate
from portraitist.export.ship import Selection, ship


def main() -> None:
    """Write the generator, its checksum, model card, licence notice and list of portraits; print what was written."""
    project, selection, out, titles = path_options("project", "selection", "out", optional=["titles"])
    try:
        content = yaml.safe_load(selection.read_text("utf-8"))
    except yaml.YAMLError as error:
        sys.exit(f"ship: {selection}: {error}")
    chosen = validate(Selection, "shipped", {"shipped": content}, {})
    print(json.dumps(ship(project, chosen, titles, out), indent=2))


if __name__ == "__main__":
    main()
