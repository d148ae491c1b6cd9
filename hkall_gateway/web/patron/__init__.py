"""Pages for patrons: search and titles for everybody, requests and the circulation record after a login."""
