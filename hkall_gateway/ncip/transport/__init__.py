"""NCIP over HTTP and raw TCP, as responder and as initiator."""
