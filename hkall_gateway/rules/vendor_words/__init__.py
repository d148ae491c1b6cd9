"""Tables that map words used by other systems to the gateway's own words."""
