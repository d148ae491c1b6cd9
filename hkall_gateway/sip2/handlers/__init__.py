"""One module for each subject of terminals: it turns a message into a command, and the result into a reply."""
