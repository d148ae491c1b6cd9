"""Queries for lists and reports: work lists, request search and history, statistics, lists of the command line."""
