"""`driftd init`: finds a project's models and its database, proves what it found, and writes a `driftd.toml`."""
