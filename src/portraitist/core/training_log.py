"""Suffix of the log file that a training appends to while it runs."""

LIVE_SUFFIX = ".live.csv"
