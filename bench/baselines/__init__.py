"""What the gateway is compared with: small servers, bare databases, naive designs."""
