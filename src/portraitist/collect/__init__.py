"""Stage collect: find pictures in one source, download or read them, and record which were kept and why."""
