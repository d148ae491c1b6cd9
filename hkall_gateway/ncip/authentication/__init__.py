"""Proofs of identity: of callers and of us."""
