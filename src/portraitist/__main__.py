"""`python -m portraitist`, where the command is not on the path."""

from portraitist.cli import main

main()
