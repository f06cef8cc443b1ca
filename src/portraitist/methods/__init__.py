"""The methods that the pipeline trains, one file each. learning/registry.py finds a method by the name of its file."""
