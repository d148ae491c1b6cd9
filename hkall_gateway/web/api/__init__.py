"""/api/v1: the lists, requests, commands and statistics of the console for programs.

An application of its own beside that of the pages: it has no cookies, no forms and no HTML, and answers errors as problems
(RFC 9457). A program is known by its bearer token (`hkall-gateway token`), and the least role of each operation is a row of
`access.ROLES`. A change is the desk's command of the console, with `token:NAME` as its actor.
"""
