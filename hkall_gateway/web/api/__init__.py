"""The HTTP API /api/v1: the staff console for programs; the catalogue, requests and the circulation record for patrons.

The API is a separate WSGI application without cookies, forms or HTML. It reports errors as problems (RFC 9457). A
program authenticates with a bearer token (`hkall-gateway token`), a patron with a token that is valid for an hour.
`access.ROLES` lists who may call each operation. A change is a command whose actor is `token:NAME` or `patron`.
"""
