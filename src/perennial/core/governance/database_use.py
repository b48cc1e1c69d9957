"""What a role of the SQL database is for, besides the owner of the tables."""

from __future__ import annotations

from enum import StrEnum


class DatabaseUse(StrEnum):
    """Use of the tables; `adapters/sql/rights.py` says which rights it needs."""

    PLANT = "plant"
    """Processes that release, train and watch, and the commands of people."""
    RECORDER = "recorder"
    """Servers with pages for people (MLflow, Airflow): they record sign-ins and changes in the ledger."""
    MACHINE = "machine"
    """A serving machine: it reads what is wanted and writes rows under its own name."""
