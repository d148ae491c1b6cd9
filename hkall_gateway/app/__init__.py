"""Builds the parts of a gateway and runs them: daemon, pages' process, logs, metrics, checks at the start."""
