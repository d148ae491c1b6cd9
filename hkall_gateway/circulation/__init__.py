"""The service layer: commands and queries with their results, independent of any protocol."""
