"""The patrons' pages: search, titles, and for those who have logged in their requests and their record."""
