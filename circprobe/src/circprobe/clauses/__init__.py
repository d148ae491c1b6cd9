"""The catalogue: one TOML file for each role."""
