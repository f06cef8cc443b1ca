"""Metrics of the stylized test selfies, with 95 % confidence intervals."""
