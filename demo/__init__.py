"""The demo of a checkout: a configured gateway with simulated partners, and a borrowing story that is narrated."""
