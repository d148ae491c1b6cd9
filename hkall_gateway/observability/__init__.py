"""Logging, metrics, and the log context of messages."""
