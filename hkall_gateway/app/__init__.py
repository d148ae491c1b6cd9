"""Builds and runs the parts of a gateway: the daemon, the web process, logs, metrics and start checks."""
