"""Print the differences between experiments as a table that fits a terminal (`make experiments`); not a stage.

`dvc exp show` itself prints a column for every parameter and every file, with full names.
"""

import io
import re
import subprocess
import sys

import pandas as pd

OTHER_COLUMNS = r".*/|params.yaml$|Created|Executor"
COMMAND = ("dvc", "exp", "show", "--csv", "--only-changed", "--drop", OTHER_COLUMNS)


def compact(csv: str) -> str:
    """Convert the output of `dvc exp show --csv` to a text table with aligned columns and short column names.

    If a row has no experiment name, its revision (column `rev`) is shown instead of the name.
    """
    table = pd.read_csv(io.StringIO(csv), dtype=str, keep_default_na=False)
    if "Experiment" not in table:
        return "no experiments on this commit; `make experiments ARGS='-n 5'` shows those on the last five commits\n"
    table["Experiment"] = table["Experiment"].where(table["Experiment"] != "", table["rev"])
    table = table.drop(columns=["rev", "typ", "parent"], errors="ignore").replace("", "-")
    short = {name: re.sub(r"^(params\.yaml:)?(methods\.\w+\.)?", "", name) for name in table.columns}
    names = [name if list(short.values()).count(short[name]) > 1 else short[name] for name in table.columns]
    rows = [names, *table.to_numpy().tolist()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join("  ".join(map(str.ljust, row, widths)).rstrip() + "\n" for row in rows)


if __name__ == "__main__":
    shown = subprocess.run([*COMMAND, *sys.argv[1:]], stdout=subprocess.PIPE, text=True, check=False)
    if shown.returncode:
        sys.exit(shown.returncode)
    print(compact(shown.stdout), end="")
