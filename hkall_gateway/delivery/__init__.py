"""Letters to patrons (templates in two languages, SMTP), live copy statuses, and the courier of the outbox."""
