"""Checks whether a gateway can start, in one table for `check-config`, `serve` and `doctor`."""
