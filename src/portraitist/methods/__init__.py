"""Methods that the pipeline trains: one file each, found by its name. learning/registry.py defines how."""
