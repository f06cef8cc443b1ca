"""Run the command `portraitist` as `python -m portraitist`, for example if the command's folder is not in PATH."""

from portraitist.cli import main

main()
