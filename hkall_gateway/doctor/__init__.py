"""The readiness check: what `hkall-gateway doctor` tries at each peer and here, and what it advises."""
