"""Several gateways that lend to each other in simulated time, with faults and crashes."""
