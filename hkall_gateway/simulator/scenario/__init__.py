"""Scenario files, run against a gateway in this process or a running gateway."""
