"""Functions that several modules of the desk share."""
