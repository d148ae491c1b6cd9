"""Backups beside a running gateway, and restoring them."""
