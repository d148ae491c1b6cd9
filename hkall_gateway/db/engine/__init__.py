"""The engine below the unit of work: connections, threads, group commit, locks, deadlines, compiled statements."""
