"""Search of the union catalogue: how texts are compared, the index of each database, queries and their results."""
