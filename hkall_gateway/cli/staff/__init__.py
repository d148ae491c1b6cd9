"""Commands of staff: work lists, requests, patrons, partners."""
