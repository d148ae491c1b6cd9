"""A conformance kit for SIP2 and NCIP."""

__version__ = "0.1.0"
