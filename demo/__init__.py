"""The demo of a source checkout: a configured gateway with simulated partners, and a narrated loan."""
