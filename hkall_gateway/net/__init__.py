"""Parts shared by SIP2 and NCIP: allow lists, secrets, limits, metrics."""
