"""Staff commands on requests, and the queries of staff pages."""
