"""Generators for documentation pages from tables in the code."""
