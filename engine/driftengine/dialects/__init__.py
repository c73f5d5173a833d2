"""One folder a database; everything that only SQLite does stands in `sqlite`."""
