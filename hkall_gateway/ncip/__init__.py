"""The protocol of partner systems: NCIP (NISO Z39.83)."""
