"""The network: endpoints, TLS, PROXY protocol, HTTP, secrets, limits."""
