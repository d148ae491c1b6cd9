"""The desk answers a command with a result, independent of any protocol."""
