"""Letters to patrons: written from templates in two languages, sent by SMTP through the outbox."""
