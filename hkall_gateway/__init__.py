"""Gateway between partner libraries (NCIP), self-checks and counters (SIP2), and a library's local system."""

from importlib.metadata import version

__version__ = version("hkall-gateway")
