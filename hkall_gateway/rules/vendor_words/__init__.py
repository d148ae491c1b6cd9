"""Tables that map the words of other systems to our own."""
