"""SIP2: codec, server under test, terminal under test, recordings."""
