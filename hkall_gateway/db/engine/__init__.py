"""The engine below the unit of work: connections, threads, groups with one commit, locks, deadlines, compiled statements."""
