"""Scheduled jobs, which run in batches of one transaction each."""
