"""Trainable methods, one file each, found by name; see learning/registry.py."""
