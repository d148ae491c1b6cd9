"""One module for each matter of a terminal: each turns a message into a command and the result into a reply."""
