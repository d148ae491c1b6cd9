"""Measurements that need their own setup."""
