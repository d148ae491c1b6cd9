"""The work of commands that needs the database, the configuration or the network; commands import it when they run."""
