"""The readiness check: the tests that `hkall-gateway doctor` runs at each peer and here, and its advice."""
