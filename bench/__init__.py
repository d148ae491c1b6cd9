"""The benchmark: this gateway beside a bare echo, a peer and other builds of itself, in one interleaved run."""
