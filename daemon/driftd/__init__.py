"""driftd keeps a database in step with its SQLAlchemy models."""
