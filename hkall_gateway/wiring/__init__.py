"""Builders of the daemon's parts, each from its tables of the configuration."""
