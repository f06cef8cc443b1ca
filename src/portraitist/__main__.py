"""Run the command line as `python -m portraitist`, where the script is not on the path."""

from portraitist.cli import main

main()
