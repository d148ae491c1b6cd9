"""The door for partner systems: NCIP (NISO Z39.83)."""
