"""The protocol of terminals: SIP2 2.00."""
