"""Checks whether a gateway can start. `check-config`, `serve` and `doctor` share one table of checks."""
