"""Limits on connections, requests, guesses and time."""
