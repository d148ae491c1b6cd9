"""NCIP: documents, responder under test, initiator under test."""
