"""Measurements that need a setup of their own."""
