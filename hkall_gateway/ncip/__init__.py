"""NCIP (NISO Z39.83), the protocol between the gateway and partner systems."""
