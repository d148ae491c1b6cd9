"""Peers that keep every clause, with a switch for one planted fault.

They prove the kit: each fault must be found by its clause and by no other. They are also what the
kit plays itself towards a terminal or an initiator under test.
"""
