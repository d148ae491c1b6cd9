"""Jobs: named steps that repeat with a cursor, one transaction each."""
