"""Places of artifacts in MLflow's database, after the artifacts were moved."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import create_engine, inspect, text
from sqlalchemy.pool import NullPool

COLUMNS = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}
"""Table -> columns with the address of artifacts."""


def move(url: str, old: str, new: str) -> None:
    """Replace the beginning of every address; MLflow has no command for it.

    Args:
        old, new: folder or address of all artifacts, without a slash at the end.
    """
    if old == new:
        return
    pairs = [(old, new)]
    if old.startswith("/"):  # MLflow writes a folder as a path or as a URI
        pairs.append((Path(old).as_uri(), Path(new).as_uri() if new.startswith("/") else new))
    engine = create_engine(url, poolclass=NullPool)
    tables = set(inspect(engine).get_table_names())
    with engine.begin() as connection:
        for table in COLUMNS.keys() & tables:
            for column in COLUMNS[table]:
                for before, after in pairs:
                    connection.execute(
                        text(
                            f"UPDATE {table} SET {column} = :new || substr({column}, :length + 1) "  # noqa: S608 ours
                            f"WHERE substr({column}, 1, :length) = :below"
                        ),
                        {"new": f"{after}/", "length": len(before) + 1, "below": f"{before}/"},
                    )
