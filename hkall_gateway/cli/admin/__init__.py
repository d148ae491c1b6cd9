"""Commands of the system administrator: serve, load, back up, examine."""
