"""A model of a query learns only from what is new since; files become tables that later files are appended to."""

from __future__ import annotations

import numpy as np
import pandas as pd
import sqlalchemy as sa

from perennial.cli import main
from perennial.flows.training.workdir import read_table
from perennial.settings import load

RANDOM = np.random.default_rng(3)


def loans(first: int, rows: int = 200) -> pd.DataFrame:
    amount = RANDOM.normal(10, 3, rows)
    return pd.DataFrame(
        {
            "loan_id": range(first, first + rows),
            "amount": amount,
            "branch": RANDOM.choice(["north", "south"], rows),
            "asked_at": [
                f"{at:%Y-%m-%d %H:%M:%S}" for at in pd.date_range("2024-01-01", periods=rows, freq="h")
            ],
            "repaid": np.where(amount + RANDOM.normal(0, 2, rows) > 10, "yes", "no"),
        }
    )


def test_a_model_of_a_query_reads_what_is_new_and_keeps_its_password_out_of_the_spec(
    table_world, monkeypatch, capsys
):
    world = table_world("loans", loans(1))
    address = f"sqlite:///{world.folder / 'bank.db'}"
    monkeypatch.setenv("BANK_DATABASE", address)
    engine = sa.create_engine(address)
    loans(1).to_sql("loans", engine, index=False)
    made = main(
        ["init", "loans", "--from-sql", "SELECT * FROM loans", "--connection", "BANK_DATABASE",
         "--high-water", "loan_id", "--target", "repaid", "--yes"]
    )  # fmt: skip
    assert made == 0, capsys.readouterr().err
    source = world.spec.data.source
    assert (source.kind, source.connection, source.high_water) == ("sql", "BANK_DATABASE", "loan_id")
    assert (source.key, source.time, source.split) == ("loan_id", "asked_at", "time")
    assert "bank.db" not in world.spec_path.read_text()
    world.prepare()
    assert world.validate().reports[0].ok
    assert len(read_table(world.work.examples, "prepare")) == 200
    first = world.work.source.read_text()
    loans(201, 50).to_sql("loans", engine, index=False, if_exists="append")
    world.prepare()
    assert len(read_table(world.work.examples, "prepare")) == 250
    assert world.work.source.read_text() != first
    world.prepare()
    assert len(read_table(world.work.history, "prepare")) == 250


def test_files_become_a_table_that_later_files_are_appended_to(table_world, capsys):
    world = table_world("loans", loans(1))
    project = world.settings.project
    loans(201, 50)[["repaid", "branch", "loan_id", "amount", "asked_at"]].to_csv(
        project / "later.csv", index=False
    )
    assert main(["data", "import-csv", "loans", str(world.path)]) == 0
    assert main(["data", "import-csv", "loans", str(world.path)]) == 2
    assert main(["data", "append", "loans", str(project / "later.csv")]) == 0
    assert main(["data", "append", "loans", str(project / "later.csv")]) == 0
    shown = capsys.readouterr().out
    assert "table loans: 50 rows added, 250 rows" in shown
    assert "table loans: 0 rows added, 250 rows" in shown
    folder = load().tables_dir / "loans"
    assert main(["init", "loans", "--from", str(folder), "--target", "repaid", "--yes"]) == 0
    world.prepare()
    assert len(read_table(world.work.examples, "prepare")) == 250
    wrong = loans(300, 5).assign(amount=["1", "2", "3", "many", "5"])
    wrong.to_csv(project / "wrong.csv", index=False)
    assert main(["data", "append", "loans", str(project / "wrong.csv")]) == 23
    assert "row 4, amount is 'many'" in capsys.readouterr().err
    loans(300, 5).drop(columns="branch").to_csv(project / "wrong.csv", index=False)
    assert main(["data", "append", "loans", str(project / "wrong.csv")]) == 23
    assert "lacks in the new rows ['branch']" in capsys.readouterr().err
    world.prepare()
    assert len(read_table(world.work.examples, "prepare")) == 250


def test_a_query_becomes_a_table(table_world, monkeypatch, capsys):
    world = table_world("loans", loans(1))
    address = f"sqlite:///{world.folder / 'bank.db'}"
    monkeypatch.setenv("BANK_DATABASE", address)
    engine = sa.create_engine(address)
    loans(1).to_sql("loans", engine, index=False)
    call = ["data", "import-sql", "loans", "SELECT * FROM loans", "--connection", "BANK_DATABASE"]
    assert main([*call, "--high-water", "loan_id"]) == 0
    loans(201, 50).to_sql("loans", engine, index=False, if_exists="append")
    assert main([*call, "--high-water", "loan_id"]) == 0
    assert "table loans: 50 rows added, 250 rows" in capsys.readouterr().out
    assert main(call) == 23  # the same name for another origin
