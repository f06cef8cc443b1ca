"""Metrics of the stylized selfies, with confidence intervals."""
