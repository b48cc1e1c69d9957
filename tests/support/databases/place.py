"""An SQL database of one test, with the tables and rows of a schema that was made before."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import create_engine, text

from perennial.adapters.sql.revision import stored_schema
from perennial.adapters.sql.schema import RETIRED, schema_revision

STORED = Path(__file__).parent
MADE_BEFORE = sorted(path.name.removesuffix(".sqlite.sql") for path in STORED.glob("*.sqlite.sql"))
"""Names of all schemas that an SQLite file may have from before revisions were recorded."""

Rows = dict[str, list[tuple]]


class Place:
    """A database for one test, named by PERENNIAL_DATABASE_URL."""

    def __init__(self, url: str) -> None:
        self.engine = create_engine(url)
        self.url = url
        self.kind = self.engine.dialect.name

    def load(self, name: str) -> Place:
        """Make the tables and rows of a stored schema."""
        self.run(*(STORED / f"{name}.{self.kind}.sql").read_text().split(";\n"))
        return self

    def run(self, *statements: str) -> None:
        with self.engine.begin() as connection:
            for statement in statements:
                if statement.strip():
                    connection.exec_driver_sql(statement)

    def rows(self) -> Rows:
        """Return the rows of every table of ours but the revision's."""
        with self.engine.connect() as connection:
            names = stored_schema(connection).tables
            return {
                name: sorted(map(tuple, connection.execute(text(f"SELECT * FROM {name}"))), key=repr)  # noqa: S608
                for name in sorted(names - {schema_revision.name})
            }

    def definitions(self) -> dict[str, str]:
        """Return each table's columns and each index's definition, as the database tells them."""
        queries = {
            "sqlite": "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL",
            "postgresql": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema() "
            "UNION ALL SELECT table_name || '.' || column_name, concat_ws(' ', data_type, is_nullable, "
            "character_maximum_length, column_default) FROM information_schema.columns "
            "WHERE table_schema = current_schema()",
        }
        with self.engine.connect() as connection:
            told = connection.execute(text(queries[self.kind])).all()
        return {
            name: " ".join(sql.split()).replace("IF NOT EXISTS ", "")
            for name, sql in told
            if not name.startswith(RETIRED)
        }
