"""The engine of driftd: schema in, schema out. No threads, no sockets, no logging set-up, no global state."""
