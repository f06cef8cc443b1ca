"""Stage collect: find pictures in one source, download or read them, and record the outcome of each."""
