"""The one writer: connections, workers, groups of units with one commit, locks. Imports nothing of store but the tables."""
