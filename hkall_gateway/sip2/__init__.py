"""The door for terminals: SIP2 2.00."""
