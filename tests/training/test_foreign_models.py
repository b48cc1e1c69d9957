"""Models of tables of other people, from `init` on."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from perennial import catalog
from perennial.flows.training.workdir import read_table

ROWS = 400
RANDOM = np.random.default_rng(1)
SIZE = RANDOM.normal(50, 20, ROWS).round(2)
PLAIN = pd.DataFrame(
    {
        "size": SIZE,
        "weight": RANDOM.normal(0, 1, ROWS),
        "y": np.where(SIZE + RANDOM.normal(0, 20, ROWS) > 50, "yes", "no"),
    }
)


def test_rows_without_a_target_are_left_out_where_a_person_says_so(table_world, capsys):
    frame = PLAIN.assign(y=np.where(np.arange(ROWS) % 8 == 0, None, PLAIN["y"]))
    world = table_world("partly", frame)
    assert world.init("y") == 20
    assert "50 of 400 rows have no y" in capsys.readouterr().err
    assert world.init("y", "--drop-unlabelled") == 0
    assert "50 rows without y are left out" in capsys.readouterr().out
    assert world.spec.data.source.unlabelled == "drop"
    world.prepare()
    world.validate()
    examples = read_table(world.work.examples, "prepare")
    assert (len(examples), examples["y"].isna().sum()) == (350, 0)


def test_rows_without_a_target_are_left_out_in_later_trainings_too(table_world):
    world = table_world("whole", PLAIN)
    assert world.init("y", "--drop-unlabelled") == 0
    PLAIN.assign(y=np.where(np.arange(ROWS) % 8 == 0, None, PLAIN["y"])).to_csv(world.path, index=False)
    world.prepare()
    assert len(read_table(world.work.examples, "prepare")) == 350


def reviews() -> pd.DataFrame:
    good = ["works", "great", "excellent", "fast", "perfect", "happy", "recommend"]
    bad = ["broke", "terrible", "waste", "slow", "awful", "cheap", "again"]
    plain = "the item arrived with a box and it was for my desk lamp which came on monday"
    happy = RANDOM.random(ROWS) < 0.5
    words = [
        RANDOM.choice([*(good if kind else bad), *plain.split()], RANDOM.integers(8, 30)) for kind in happy
    ]
    stars = np.where(happy, "many", "few")
    return pd.DataFrame(
        {
            "review": [" ".join(row) for row in words],
            "shop": RANDOM.choice(["main", "side"], ROWS),
            "days": RANDOM.integers(1, 30, ROWS),
            "stars": stars,
        }
    )


@pytest.mark.slow
def test_a_text_beside_other_inputs_becomes_a_version_that_answers(table_world, capsys):
    world = table_world("reviews", reviews())
    assert world.init("stars", "--positive", "many") == 0
    assert "template: text" in capsys.readouterr().out
    spec = catalog.spec("reviews", world.settings)
    types = {name: given.type.value for name, given in spec.features.inputs.items()}
    assert types == {"review": "text", "shop": "category", "days": "int"}
    assert spec.monitoring.columns[0] == "review#length"
    assert spec.monitoring.columns[-1] == "review#vocabulary"
    evaluation, ref = world.whole_way()
    assert evaluation.scores["model"]["roc_auc"].value > 0.95
    server, row = world.server(ref), {"shop": "main", "days": 3}
    good, bad = (
        world.ask(server, row | {"review": text}).json()["predictions"][0]["score"]
        for text in (
            "the lamp works great and i recommend it",
            "it broke and was a terrible waste of my desk",
        )
    )
    assert good > bad
