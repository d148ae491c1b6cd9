"""A gateway between partner libraries (NCIP), terminals (SIP2) and one library's own system."""

__version__ = "0.1.0"
