"""Builds and runs the parts of a gateway: daemon, web process, logs, metrics, start checks."""
