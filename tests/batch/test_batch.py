"""`perennial batch`: every row of a file or query is answered or set apart with its reason, and counted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from batching.world import INPUTS, BatchWorld
from one_server import Server
from sqlalchemy import create_engine

from perennial import model_probe
from perennial.adapters.batch.parts import PartFiles
from perennial.core.events import Event
from perennial.core.input_spec import InputSpec
from perennial.core.tasks import Multiclass
from perennial.wiring import database, versions

SUPPORT = Path(__file__).resolve().parents[1] / "support"


@pytest.fixture
def enter(tmp_path, monkeypatch):
    """Return a maker of worlds; what they change is put back after the test."""
    for name in ("PERENNIAL_PROJECT", "PERENNIAL_HOME", "PERENNIAL_TRUSTED_KEYS", "PERENNIAL_ACTOR"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(versions, "registry", None)
    monkeypatch.setattr(model_probe, "model_problem", None)

    def made(**changes) -> BatchWorld:
        world = BatchWorld(tmp_path, **changes)
        world.enter()
        return world

    return made


def rows(count: int, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "id": [f"{number:06}" for number in range(count)],
            "size": random.normal(size=count).round(3),
            "count": random.integers(-3, 3, count),
            "open": random.integers(0, 2, count).astype(bool),
            "colour": random.choice(["red", "green"], count),
            "since": pd.Timestamp("1970-01-01", tz="UTC")
            + pd.to_timedelta(random.integers(0, 86_400, count), "s"),
            "note": random.choice(["a, b", "c"], count),
        }
    )


def served(world: BatchWorld, table: pd.DataFrame) -> list[dict | None]:
    """Return the answer of a server to each row alone; None where it refuses it."""
    server = Server(world.folder / "server")
    server.hold(world.version)
    answers = []
    for row in json.loads(table[list(INPUTS)].to_json(orient="records", date_format="iso")):
        answer = server.client.post("/v1/models/tiny/predict", json={"rows": [row]})
        assert answer.status_code in (200, 400), answer.text
        answers.append(answer.json()["predictions"][0] if answer.status_code == 200 else None)
    return answers


def spoilt(count: int) -> pd.DataFrame:
    """Return rows of which every ninth has a value that the model refuses."""
    table = rows(count).astype({"size": object, "count": object, "open": object, "since": object})
    wrong = {"size": None, "count": 1.5, "colour": "blue", "open": None, "since": None}
    for place, (name, value) in enumerate(wrong.items()):
        table.loc[9 * (place + 1) - 1 :: 9 * len(wrong), name] = value
    return table


def test_a_batch_answers_as_the_server_does(enter, tmp_path, capsys):
    world, table = enter(), spoilt(200)
    typed = table.astype({"size": "float64", "count": "float64", "open": "boolean"})
    typed["since"] = pd.to_datetime(typed["since"])
    typed.to_parquet(tmp_path / "in.parquet")
    assert world.batch(tmp_path / "in.parquet", tmp_path / "out.parquet", "--part-rows", 64, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    out = pd.read_parquet(tmp_path / "out.parquet").set_index("row")
    rejected = pd.read_parquet(tmp_path / "out.rejected.parquet").set_index("row")
    answers = served(world, typed)
    assert [row for row, answer in enumerate(answers, 1) if answer is None] == list(rejected.index)
    expected = {row: answer for row, answer in enumerate(answers, 1) if answer}
    assert list(out.index) == list(expected)
    assert out["score"].tolist() == pytest.approx([answer["score"] for answer in expected.values()], rel=1e-6)
    assert out["decision"].tolist() == [answer["decision"] for answer in expected.values()]
    assert out["id"].tolist() == [table["id"][row - 1] for row in out.index]
    assert set(out["model_version"]) == {"1.2.0"}
    assert (
        (report["read"], report["scored"], report["rejected"])
        == (200, len(out), len(rejected))
        == (200, 178, 22)
    )


def test_bad_rows_of_a_csv_file_lie_apart_with_their_reasons(enter, tmp_path, capsys):
    world, table = enter(), rows(12).astype({"size": str, "count": str, "open": str})
    table.loc[1, "size"] = "much"
    table.loc[3, "count"] = "2.5"
    table.loc[5, ["colour", "open"]] = ["blue", "perhaps"]
    table.loc[7, "size"] = "NA"
    table.to_csv(tmp_path / "in.csv", index=False)
    line = (tmp_path / "in.csv", tmp_path / "out.csv", "--keep", "note")
    assert world.batch(*line, "--strict") == 28
    printed = capsys.readouterr()
    assert "4 of 12 rows were rejected" in printed.err
    rejected = pd.read_csv(tmp_path / "out.rejected.csv", keep_default_na=False)
    assert rejected[["row", "column", "value"]].to_numpy().tolist() == [
        [2, "size", "much"],
        [4, "count", "2.5"],
        [6, "open", "perhaps"],
        [8, "size", ""],
    ]
    assert "a number that is finite" in rejected["reason"][0]
    assert "a whole number" in rejected["reason"][1]
    out = pd.read_csv(tmp_path / "out.csv", dtype={"id": str})
    assert list(out.columns) == ["row", "id", "note", "score", "decision", "model_version"]
    assert len(out) == 8
    assert out["id"].tolist() == table["id"][out["row"] - 1].tolist(), "the key is the text of the file"
    assert out["note"].tolist() == table["note"][out["row"] - 1].tolist()
    assert not (tmp_path / "out.csv.parts").exists()


def test_the_form_of_the_file_is_that_of_the_spec(enter, tmp_path):
    table = rows(6)
    world = enter(csv={"encoding": "latin-1", "decimal": ","})
    table.to_parquet(tmp_path / "in.parquet")
    table.assign(note="é").to_csv(tmp_path / "in.csv", index=False, sep=";", decimal=",", encoding="latin-1")
    for name in ("in.csv", "in.parquet"):
        assert world.batch(tmp_path / name, tmp_path / f"{name}.parquet") == 0
    first, second = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("in.csv", "in.parquet"))
    pd.testing.assert_frame_equal(first, second)


def test_a_query_is_read_once(enter, tmp_path, monkeypatch, capsys):
    world, table = enter(), rows(50)
    address = f"sqlite:///{tmp_path / 'shop.db'}"
    # By SQLAlchemy: over a connection of sqlite3, pandas changes how this whole process writes times to SQLite.
    with create_engine(address).begin() as base:
        table.assign(since=table["since"].map(lambda at: at.isoformat())).to_sql("orders", base, index=False)
    monkeypatch.setenv("SHOP", address)
    query = "SELECT * FROM orders WHERE colour = 'red'"
    assert world.batch(query, tmp_path / "out.csv", "--connection", "SHOP", "--json") == 0
    red = table[table["colour"] == "red"]
    report = json.loads(capsys.readouterr().out)
    assert report["scored"] == len(red)
    assert report["source"] == f"{query} (SHOP)"
    table.to_parquet(tmp_path / "in.parquet")
    assert world.batch(tmp_path / "in.parquet", tmp_path / "all.csv") == 0
    out, everything = (pd.read_csv(tmp_path / name, dtype={"id": str}) for name in ("out.csv", "all.csv"))
    assert out["id"].tolist() == red["id"].tolist()
    assert out["score"].tolist() == pytest.approx(everything["score"][red.index].tolist(), rel=1e-6)


def test_several_processes_give_the_same_file(enter, tmp_path):
    world = enter()
    spoilt(300).astype(str).to_csv(tmp_path / "in.csv", index=False)
    for workers in (1, 2):
        out = tmp_path / f"{workers}.parquet"
        assert world.batch(tmp_path / "in.csv", out, "--part-rows", 32, "--workers", workers) == 0
    for ending in (".parquet", ".rejected.parquet"):
        assert (tmp_path / f"1{ending}").read_bytes() == (tmp_path / f"2{ending}").read_bytes()


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from batching.world import BatchWorld
from perennial.adapters.batch.parts import PartFiles

whole = PartFiles.write
def write(self, chunk, *rest):
    if chunk.number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(self, chunk, *rest)

PartFiles.write = write
world = BatchWorld(Path(sys.argv[2]))
world.enter()
world.batch(sys.argv[2] + "/in.csv", sys.argv[2] + "/out.csv", "--part-rows", "40")
"""


def test_a_killed_batch_goes_on_where_it_was(enter, tmp_path, capsys, monkeypatch):
    world = enter()
    spoilt(300).to_csv(tmp_path / "in.csv", index=False)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, SUPPORT, tmp_path], check=False, env=dict(os.environ)
    )
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "out.csv").exists()
    numbers, whole = [], PartFiles.write
    monkeypatch.setattr(
        PartFiles,
        "write",
        lambda self, chunk, *rest: numbers.append(chunk.number) or whole(self, chunk, *rest),
    )
    assert world.batch(tmp_path / "in.csv", tmp_path / "out.csv", "--part-rows", 40, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert numbers == [3, 4, 5, 6, 7], "what was done is not done again"
    assert (report["read"], report["resumed_parts"]) == (300, 3)
    assert world.batch(tmp_path / "in.csv", tmp_path / "fresh.csv", "--part-rows", 40) == 0
    for ending in (".csv", ".rejected.csv"):
        assert (tmp_path / f"out{ending}").read_bytes() == (tmp_path / f"fresh{ending}").read_bytes()
    entries = database.store(world.settings).ledger.rows("tiny", kinds=(Event.BATCH_SCORED,))
    assert [row.entry.payload["read"] for row in entries] == [300, 300]
    assert entries[0].entry.actor == "ann"
    assert entries[0].entry.digest == world.version[0].digest


def test_other_rows_or_another_version_are_not_mixed_in(enter, tmp_path, capsys, monkeypatch):
    world = enter()
    rows(100).to_csv(tmp_path / "in.csv", index=False)
    whole = PartFiles.write

    def stopped(self, chunk, *rest):
        if chunk.number == 1:
            raise KeyboardInterrupt
        return whole(self, chunk, *rest)

    line = (tmp_path / "in.csv", tmp_path / "out.csv")
    monkeypatch.setattr(PartFiles, "write", stopped)
    assert world.batch(*line, "--part-rows", 40) == 130
    monkeypatch.setattr(PartFiles, "write", whole)
    assert world.batch(*line, "--part-rows", 50) == 2
    assert "part_rows was 40, is 50" in capsys.readouterr().err
    (tmp_path / "out.csv").write_text("of somebody else\n")
    assert world.batch(*line, "--part-rows", 40) == 2
    assert (tmp_path / "out.csv").read_text() == "of somebody else\n"
    (tmp_path / "out.csv").unlink()
    rows(100, seed=1).to_csv(tmp_path / "in.csv", index=False)
    assert world.batch(*line, "--part-rows", 40) == 22
    assert not (tmp_path / "out.csv").exists()


def test_rows_that_change_meanwhile_are_refused(enter, tmp_path, capsys, monkeypatch):
    world, whole = enter(), PartFiles.write
    rows(100).to_csv(tmp_path / "in.csv", index=False)

    def changing(self, chunk, *rest):
        with (tmp_path / "in.csv").open("a") as file:
            file.write("x,1,1,true,red,1970-01-01T00:00:00Z,n\n")
        return whole(self, chunk, *rest)

    monkeypatch.setattr(PartFiles, "write", changing)
    assert world.batch(tmp_path / "in.csv", tmp_path / "out.csv") == 22
    assert "has changed while it was scored" in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        (("in.csv", "out.xlsx"), 2, "no name of a result"),
        (("in.csv", "there.csv"), 2, "is there already"),
        (("other.csv", "out.csv"), 21, "there is no table"),
        (("lacking.csv", "out.csv"), 23, "has no column size"),
        (("in.csv", "out.csv", "--keep", "score"), 2, "would have score twice"),
        (("in.csv", "out.csv", "--keep", "strange"), 23, "has no column strange"),
        (("in.csv", "out.csv", "--version", "9.9.9"), 32, "no version '9.9.9'"),
        (("empty.csv", "out.csv"), 21, "has no rows"),
        (("SELECT 1", "out.csv", "--connection", "NOWHERE"), 11, "NOWHERE is not set"),
    ],
)
def test_what_cannot_be_done_is_refused_first(enter, tmp_path, capsys, monkeypatch, line, code, said):
    world, table = enter(), rows(3)
    monkeypatch.chdir(tmp_path)
    table.assign(score=1).to_csv("in.csv", index=False)
    table.drop(columns="size").to_csv("lacking.csv", index=False)
    table[:0].to_csv("empty.csv", index=False)
    Path("there.csv").write_text("mine")
    assert world.batch(*line) == code
    assert said in capsys.readouterr().err
    assert Path("there.csv").read_text() == "mine"
    assert not list(tmp_path.glob("*out.csv*")), "nothing is left"


def test_classes_have_a_column_each(enter, tmp_path):
    world = enter(task=Multiclass(classes=("a", "b", "c")))
    rows(5).to_csv(tmp_path / "in.csv", index=False)
    assert world.batch(tmp_path / "in.csv", tmp_path / "out.csv") == 0
    out, (answer, *_) = pd.read_csv(tmp_path / "out.csv"), served(world, rows(5))
    names = ["probabilities.a", "probabilities.b", "probabilities.c"]
    assert list(out.columns) == ["row", "id", "class", *names, "model_version"]
    assert out["class"][0] == answer["class"]
    assert out[names].to_numpy()[0].tolist() == pytest.approx(
        list(answer["probabilities"].values()), rel=1e-6
    )


def test_an_array_is_read_from_lists_and_from_texts(enter, tmp_path):
    inputs = {**INPUTS, "past": InputSpec(type="array", missing="refuse", size=2)}
    world, table = enter(inputs=inputs), rows(4)
    table["past"] = [[0.5, 1.0], [0.25, 2.0], [1.0, None], [2.0, None]]
    table.to_parquet(tmp_path / "in.parquet")
    table.assign(past=["[0.5, 1.0]", "[0.25, 2]", "[1]", "much"]).to_csv(tmp_path / "in.csv", index=False)
    for name in ("in.parquet", "in.csv"):
        assert world.batch(tmp_path / name, tmp_path / f"{name}.out.parquet") == 0
        rejected = pd.read_parquet(tmp_path / f"{name}.out.rejected.parquet")
        assert rejected["row"].tolist() == [3, 4]
        assert set(rejected["column"]) == {"past"}
        assert all("a list of 2 finite numbers" in reason for reason in rejected["reason"])
    first, second = (pd.read_parquet(tmp_path / f"{name}.out.parquet") for name in ("in.csv", "in.parquet"))
    assert first["score"].tolist() == second["score"].tolist()
