"""Files of patrons and copies, written into the database."""
