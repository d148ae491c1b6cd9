"""Limits on connections, requests, wrong secrets and response time."""
