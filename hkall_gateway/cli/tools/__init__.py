"""Commands for trying a gateway: a terminal, a document, scenarios, the simulation."""
