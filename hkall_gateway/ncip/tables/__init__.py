"""Tables of the protocol that a librarian can check: flows, documents, problems, status words, systems."""
