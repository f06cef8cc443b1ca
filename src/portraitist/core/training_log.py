"""Naming of the log that a training appends to while it runs."""

LIVE_SUFFIX = ".live.csv"  # train/loop.py writes such files, tools/tensorboard.py reads them
