"""NCIP tables that a librarian can check: flows, notifications, problems, status words and partner systems."""
