"""Commands of staff on requests."""
