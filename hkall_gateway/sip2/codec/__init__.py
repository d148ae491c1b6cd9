"""SIP2 lines as messages and back, and the state of a session. Pure: no input or output."""
