"""Commands for trying out a gateway: act as a terminal, send a document, run scenarios or the simulation."""
