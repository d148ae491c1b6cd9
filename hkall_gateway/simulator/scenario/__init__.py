"""Scenario files, played against a gateway in this process or a running one."""
