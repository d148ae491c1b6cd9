"""What several matters of the desk share."""
