"""The benchmark: compares this gateway with a bare echo server, a peer and other builds of itself, in one interleaved run."""
