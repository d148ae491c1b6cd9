"""Sends letters to patrons by SMTP, queries live copy statuses, and runs the courier, which delivers the outbox."""
