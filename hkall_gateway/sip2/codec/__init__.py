"""SIP2 lines as messages and back, and the state of one conversation. Pure: no input or output."""
