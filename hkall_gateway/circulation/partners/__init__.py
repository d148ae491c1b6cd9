"""Messages from partner libraries and brokers, and the deliveries to them."""
