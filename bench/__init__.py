"""The benchmark: this gateway against raw servers, naive designs and its peers, in one interleaved run."""
