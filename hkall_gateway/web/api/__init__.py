"""/api/v1 for programs: the console of staff, and for patrons the catalogue, requests and the circulation record.

An application of its own beside that of the pages: it has no cookies, no forms and no HTML, and answers errors as problems
(RFC 9457). A program is known by its bearer token (`hkall-gateway token`), a patron by one of an hour; a row of `access.ROLES`
says which callers each operation has. A change is a command, with `token:NAME` or `patron` as its actor.
"""
