"""Our one SQL database (SQLite or PostgreSQL) by SQLAlchemy Core: releases, intents, ledger, labels, tokens."""
