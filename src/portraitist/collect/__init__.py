"""Stage collect: find pictures in one source, download or read them, and record what became of each."""
