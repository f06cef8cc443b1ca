"""Comparison of the methods: tables, preferences, HTML report."""
