"""The SQL database (SQLite or PostgreSQL, SQLAlchemy Core): releases, intents, ledger, feedback, deliveries, tokens."""
