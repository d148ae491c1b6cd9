"""The HTTP API /api/v1: the staff console for programs; the catalogue, requests and the circulation record for patrons.

It is an application of its own beside the pages, without cookies, forms or HTML. Errors are answered as problems (RFC 9457). A
program authenticates with a bearer token (`hkall-gateway token`), a patron with a token that is valid for an hour.
`access.ROLES` lists who may call each operation. A change is a command whose actor is `token:NAME` or `patron`.
"""
