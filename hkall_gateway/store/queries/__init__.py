"""What a unit of work can ask: sets of requests, work lists, messages that may leave."""
