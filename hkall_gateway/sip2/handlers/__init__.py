"""Handlers for terminal messages: each converts a message into a command, and the command's result into a reply."""
