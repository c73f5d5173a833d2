"""SQLite: reading its stored DDL, writing DDL, copying and changing a database."""
