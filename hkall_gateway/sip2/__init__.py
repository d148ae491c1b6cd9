"""The SIP2 2.00 protocol, which self-checks and other terminals speak."""
