"""Load files of patrons and copies into the database."""
