"""Simulated partners and terminals, the demo and the scenario runner."""
