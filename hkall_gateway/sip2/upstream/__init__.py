"""The connection to the library's own SIP2 server."""
