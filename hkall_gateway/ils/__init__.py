"""The local library system, reached in one of several ways."""
