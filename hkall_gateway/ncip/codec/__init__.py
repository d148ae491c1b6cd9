"""NCIP documents as messages and back: the content models, versions 1 and 2. Pure: no input or output."""
