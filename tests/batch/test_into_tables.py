"""`perennial batch --into`: the result as a table of a database, whole or not at all."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import sqlalchemy as sa
from batching.world import BatchWorld

from perennial import model_probe
from perennial.adapters.batch import table_parts
from perennial.wiring import versions


@pytest.fixture
def world(tmp_path, monkeypatch):
    for name in ("PERENNIAL_PROJECT", "PERENNIAL_HOME", "PERENNIAL_TRUSTED_KEYS", "PERENNIAL_ACTOR"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(versions, "registry", None)
    monkeypatch.setattr(model_probe, "model_problem", None)
    world = BatchWorld(tmp_path)
    world.enter()
    lines = [f"{n:03},{n}.5,{n},true,red,1970-01-01T00:00:00Z,x" for n in range(100)]
    lines[7] = lines[7].replace("red", "blue")
    (tmp_path / "in.csv").write_text("\n".join(["id,size,count,open,colour,since,note", *lines]) + "\n")
    return world


def line(folder, *more):
    return (folder / "in.csv", "scores", "--into", "SHOP", "--keep", "note", "--part-rows", "30", *more)


def assert_as_a_file(world, folder, engine):
    """The tables have the rows of the files that the same batch makes."""
    assert world.batch(folder / "in.csv", folder / "out.parquet", "--keep", "note") == 0
    for table, file in {"scores": "out.parquet", "scores_rejected": "out.rejected.parquet"}.items():
        read = pd.read_sql_table(table, engine).sort_values("row", ignore_index=True)
        pd.testing.assert_frame_equal(read, pd.read_parquet(folder / file), check_dtype=False, rtol=1e-6)


def test_a_table_has_the_rows_of_a_file(world, tmp_path, monkeypatch, capsys):
    address = f"sqlite:///{tmp_path / 'shop.db'}"
    monkeypatch.setenv("SHOP", address)
    assert world.batch(*line(tmp_path, "--json")) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["out"], report["scored"], report["rejected"]) == ("the table scores of SHOP", 99, 1)
    assert_as_a_file(world, tmp_path, sa.create_engine(address))
    assert world.batch(*line(tmp_path)) == 2
    assert "has a table scores already" in capsys.readouterr().err
    assert not list((world.settings.home / "batch").glob("*")), "nothing is left"


def test_a_run_that_is_killed_while_it_fills_the_table_leaves_none_and_goes_on(world, tmp_path, monkeypatch):
    address = f"sqlite:///{tmp_path / 'shop.db'}"
    monkeypatch.setenv("SHOP", address)
    monkeypatch.setattr(table_parts, "ROWS", 40)
    whole, slices = table_parts._batches, []

    def stopped(parts):
        for batch in whole(parts):
            slices.append(batch)
            if len(slices) == 7:  # four batches are counted; of the next ones two are in the table
                raise KeyboardInterrupt
            yield batch

    with monkeypatch.context() as patch:
        patch.setattr(table_parts, "_batches", stopped)
        assert world.batch(*line(tmp_path)) == 130
    engine = sa.create_engine(address)
    assert sa.inspect(engine).get_table_names() == []
    assert world.batch(*line(tmp_path)) == 0
    assert_as_a_file(world, tmp_path, engine)


@pytest.mark.parametrize(
    ("address", "code", "said"),
    [
        (None, 11, "SHOP is not set"),
        ("mssql+nothing://x", 11, "no address of a database"),
        ("sqlite:////nowhere/at/all.db", 50, "unable to open"),
    ],
)
def test_a_database_that_cannot_be_written_is_refused_first(
    world, tmp_path, monkeypatch, capsys, address, code, said
):
    if address is not None:
        monkeypatch.setenv("SHOP", address)
    assert world.batch(*line(tmp_path)) == code
    assert said in capsys.readouterr().err
    assert not list((world.settings.home / "batch").glob("*.parts"))


@pytest.mark.server
def test_a_table_in_postgresql(world, tmp_path, monkeypatch, postgres):
    monkeypatch.setenv("SHOP", postgres)
    assert world.batch(*line(tmp_path)) == 0
    engine = sa.create_engine(postgres)
    assert_as_a_file(world, tmp_path, engine)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE scores, scores_rejected"))
