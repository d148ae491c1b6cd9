"""The database writer: connections, worker threads, groups of units with one commit, locks.

Of store it imports only the tables.
"""
