"""Comparison of all methods: tables of metrics, people's preferences, and an HTML report."""
