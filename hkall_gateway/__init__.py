"""A gateway between partner libraries (NCIP), terminals (SIP2) and one library's own system."""

from importlib.metadata import version

__version__ = version("hkall-gateway")
