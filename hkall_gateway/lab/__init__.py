"""Simulated partners and terminals, the demo, the scenario runner and the benchmark."""
