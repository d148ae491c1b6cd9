"""What all partner protocols share: who calls, by which proof, and the protocols themselves."""
