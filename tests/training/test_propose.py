"""`perennial features propose` writes windows that help on later rows as a feature view, and looks at no later row."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from doubles.learner import least_squares

from perennial import catalog
from perennial.cli import main
from perennial.flows.training.propose import ProposePorts, propose
from perennial.flows.training.training_data import load_training_data
from perennial.wiring import proposing, training

pytestmark = pytest.mark.slow
DAYS = 180


def payments(rows: int = 2400, seed: int = 1) -> pd.DataFrame:
    """Payments that are returned when they are larger than the client's mean of the last seven days."""
    random = np.random.default_rng(seed)
    seconds = np.sort(random.choice(DAYS * 86_400, rows, replace=False))
    frame = pd.DataFrame(
        {
            "client": random.choice([f"client-{number}" for number in range(30)], rows),
            "paid_at": pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(seconds, unit="s"),
            "amount": random.normal(size=rows),
            "other": random.normal(size=rows),
        }
    )
    usual = np.zeros(rows)
    for client in frame["client"].unique():
        place = (frame["client"] == client).to_numpy()
        amounts = frame.loc[place].set_index("paid_at")["amount"]
        usual[place] = amounts.rolling("7D", closed="left").mean().fillna(0)
    excess = frame["amount"] - 2 * usual + random.normal(0, 0.4, rows)
    return frame.assign(returned=np.where(excess > 0, "yes", "no"))


@pytest.fixture
def world(table_world):
    world = table_world("payments", payments())
    assert world.init("returned", "--time", "paid_at") == 0
    world.change(lambda content: content["evaluation"].update(bootstrap=100))
    return world


def proposed(world, *options, capsys):
    capsys.readouterr()
    code = main(["features", "propose", world.name, *options])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_window_that_matters_becomes_a_view_that_a_training_joins(world, capsys):
    before = world.spec_path.read_bytes()
    code, out, err = proposed(world, "--entity", "client", "--json", capsys=capsys)
    assert code == 0, err
    report = json.loads(out)
    kept = [candidate["name"] for candidate in report["candidates"] if candidate["kept"]]
    assert "amount_mean_7d" in kept
    assert not [name for name in kept if name.startswith("other")]
    assert report["total"]["low"] > 0.05
    assert report["metric"] == "roc_auc"
    view = catalog.feature_view(world.settings.configs / "features" / "past_payments.yaml")
    assert {feature.name for feature in view.window_features} == set(kept)
    assert view.times.event == "paid_at"
    assert '"csv"' not in view.meaning  # views over plain files keep their hashes
    assert world.spec_path.read_bytes() == before

    code, _, err = proposed(world, "--entity", "client", capsys=capsys)
    assert code == 2
    assert "past_payments.yaml exists" in err

    def use(content):
        content.update(features=report["features"], explanation=None)
        watched = content["monitoring"]["columns"]
        content["monitoring"]["columns"] = [name for name in watched if name != "client"]

    world.change(use)
    world.prepare()
    world.validate()
    data = load_training_data(world.spec, world.work, training.features(world.settings), retrain=False)
    values = data.rows["amount_mean_7d"]
    assert np.corrcoef(values.fillna(0), data.split.everything.target)[0, 1] < -0.3


def test_a_view_reads_the_form_of_the_file_that_the_model_reads(table_world, capsys):
    """In Latin-1 with decimal commas 1.234 is more than a thousand, for the model and for its windows."""
    table = payments(2000)
    table["amount"] = (1000 * table["amount"]).round() + 5000.5
    texts = table.assign(
        client=table["client"].str.replace("client", "Müller"),
        amount=[f"{value:,.1f}".translate(str.maketrans(",.", ".,")) for value in table["amount"]],
    )
    world = table_world("payments", texts)
    texts.to_csv(world.path, index=False, sep=";", decimal=",", encoding="latin-1")
    assert world.init("returned", "--time", "paid_at") == 0
    world.change(lambda content: content["evaluation"].update(bootstrap=100))
    form = world.spec.data.source.csv
    assert (form.encoding, form.decimal, form.thousands) == ("latin-1", ",", ".")
    once_more = ("--over", "P7D", "--over", "PT168H")
    code, _, err = proposed(world, "--entity", "client", *once_more, capsys=capsys)
    assert code == 0, err
    assert "6 candidates over" in err  # each window once
    view = catalog.feature_view(world.settings.configs / "features" / "past_payments.yaml")
    assert view.source.csv == form
    rows = training.view_rows(view, world.settings)
    assert rows["amount"].tolist() == table["amount"].tolist()
    assert rows["client"].tolist() == texts["client"].tolist()


def test_shuffled_targets_keep_nothing(world, capsys):
    table = pd.read_csv(world.path)
    shuffled = np.random.default_rng(0).permutation(table["returned"])
    table.assign(returned=shuffled).to_csv(world.path, index=False)
    code, out, _ = proposed(world, "--entity", "client", capsys=capsys)
    assert code == 0
    assert "nothing is kept: no gain is proven" in out
    assert not (world.settings.configs / "features" / "past_payments.yaml").exists()


def test_events_may_be_the_rows_of_another_view(world, capsys):
    """A table of visits tells more than the payments: the target follows from their number in a week."""
    random = np.random.default_rng(8)
    clients = [f"client-{number}" for number in range(30)]
    visits = pd.DataFrame(
        {
            "client": np.repeat(clients, 120),
            "at": pd.Timestamp("2024-01-01", tz="UTC")
            + pd.to_timedelta(
                np.concatenate([np.cumsum(random.exponential(DAYS / 120, 120)) for _ in clients]), unit="D"
            ),
        }
    )
    visits.to_csv(world.settings.project / "visits.csv", index=False)
    (world.settings.configs / "features" / "visits.yaml").write_text(
        "description: visits\nentity: client\ntimes: {event: at, created: null}\nttl: null\ncolumns: {}\n"
        'source: {kind: table, path: visits.csv, missing: [""]}\n'
        "windows: [{column: null, functions: [count], over: [P90D]}]\n"
    )
    table = pd.read_csv(world.path, parse_dates=["paid_at"])
    count = [
        (
            (visits["client"] == client) & (visits["at"] < at) & (visits["at"] >= at - pd.Timedelta(days=7))
        ).sum()
        for client, at in zip(table["client"], table["paid_at"], strict=True)
    ]
    returned = np.where(np.array(count) + random.normal(0, 1, len(table)) > 4.5, "yes", "no")
    table.assign(returned=returned).to_csv(world.path, index=False)
    code, out, err = proposed(
        world, "--events", "visits", "--name", "past_visits", "--over", "P7D", "--over", "P1D", capsys=capsys
    )
    assert code == 0, err
    assert "past_visits:count_7d" in out
    assert "client becomes the key and is no input any more" in out


def choice(world, table, lengths):
    """Propose over a table in memory, with a learner that is fast."""
    spec = world.spec
    events = proposing.events_of(spec, "client", None, "past_payments", (), world.settings)
    ports = ProposePorts(
        rows=lambda spec: table, views=lambda spec: {}, events=lambda view: table, features=None,
        windows=proposing.propose_ports(world.settings).windows, learner=least_squares,
    )  # fmt: skip
    return propose(spec, events, lengths, ports, lambda line: None)


@pytest.mark.parametrize("seed", range(3))
def test_no_change_of_the_future_changes_what_was_measured_before(world, seed):
    """The holdout changes nothing at all; rows of the proof change nothing of the choice."""
    table = payments()
    other = payments(seed=seed + 10).assign(paid_at=table["paid_at"])
    before = choice(world, table, ())
    holdout = int(len(table) * 0.72)
    assert choice(world, pd.concat([table[:holdout], other[holdout:]]), ()) == before
    learnt, chosen, _ = before.choice.rows
    proof = learnt + chosen
    after = choice(world, pd.concat([table[:proof], other[proof:]]), ())
    assert [(c.name, c.alone, c.chosen) for c in after.choice.candidates] == [
        (c.name, c.alone, c.chosen) for c in before.choice.candidates
    ]
    assert after != before


@pytest.mark.parametrize(
    ("options", "code", "named"),
    [
        ((), 2, "--entity COLUMN"),
        (("--entity", "nobody"), 23, "no column nobody"),
        (("--entity", "client", "--over", "a week"), 2, "P7D seven days"),
        *(
            (("--entity", "client", "--over", length), 2, "no whole number of seconds above 0")
            for length in ("PT0S", "-P7D", "PT0.5S", "P7DT0.5S")
        ),
        (("--entity", "client", "--column", "returned"), 2, "no column returned"),
        (("--events", "nothing"), 10, "no feature view"),
        (("--entity", "client", "--name", "../models/payments"), 2, "letters, digits and _"),
    ],
)
def test_what_cannot_be_proposed_is_said_before_anything_is_read(world, capsys, options, code, named):
    found, _, err = proposed(world, *options, capsys=capsys)
    assert named in err
    assert found == code


def test_rows_without_time_have_no_past(table_world, capsys):
    world = table_world("payments", payments(300).drop(columns="paid_at"))
    assert world.init("returned") == 0
    code, _, err = proposed(world, "--entity", "client", capsys=capsys)
    assert code == 2
    assert "windows need the time of each row" in err
