"""Logs, metrics and the context of a message in both."""
