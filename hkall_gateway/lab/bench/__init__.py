"""The benchmark: this gateway beside the raw ceiling, the naive design and its peers, in one interleaved run."""
