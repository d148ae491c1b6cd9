"""Networking: endpoints, TLS, PROXY protocol, HTTP, secrets and limits."""
