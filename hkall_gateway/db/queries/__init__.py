"""UnitOfWork of a unit of work: sets of requests, work lists, messages that may leave."""
