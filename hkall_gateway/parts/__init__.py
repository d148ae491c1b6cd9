"""The parts that the daemon is put together from, each made of its tables of the configuration."""
