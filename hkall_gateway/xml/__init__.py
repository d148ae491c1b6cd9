"""Bounded XML: the reader of documents from outside, and the tree of fields that protocols make of them."""
