"""What SIP2 and NCIP share: allow lists, secrets, limits, metrics."""
