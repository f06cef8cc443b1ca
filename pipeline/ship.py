"""Write the model that the package contains, from a finished run of the pipeline; not a stage.

python -m pipeline.ship --project . --selection data/shipped.yaml --out src/portraitist/shipped
"""

import json
import sys

import yaml

from pipeline.stage import path_options
from portraitist.core.params import ParamsError, validate
from portraitist.export.ship import Selection, ShipError, ship


def main() -> None:
    """Write generator, checksum, card, notice and the list of portraits; print what was written."""
    project, selection, out, titles = path_options("project", "selection", "out", optional=["titles"])
    try:
        chosen = validate(Selection, "shipped", {"shipped": yaml.safe_load(selection.read_text("utf-8"))}, {})
        report = ship(project, chosen, titles, out)
    except (ParamsError, ShipError, yaml.YAMLError) as error:
        sys.exit(f"ship: {error}")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
