"""Shares of the target over groups of rows are found, and tables without any raise no alarm."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import datasets
from sklearn.preprocessing import TargetEncoder
from vega_datasets import local_data as vega

from perennial.core.training.leakage import telling_columns
from perennial.core.training.target_shares import common_shares, tied_to_shares, too_exact
from perennial.datasets import nasa_mdp

MIRROR = "PERENNIAL_DATA_MIRROR"
NUMBERS = ("diabetes", "linnerud", "cars", "stocks", "barley", "sf_temps", "wheat", "driving", "airports")


def bundled(name):
    data = getattr(datasets, f"load_{name}")(as_frame=True)
    return data.data, data.target if name != "linnerud" else data.target["Weight"]


def shipped(name, target):
    table = getattr(vega, name)().dropna(subset=[target])
    return table.drop(columns=target), table[target]


TABLES = {
    **{name: (bundled, name) for name in ("breast_cancer", "wine", "iris", "digits", "diabetes", "linnerud")},
    "cars": (shipped, "cars", "Miles_per_Gallon"),
    "seattle_weather": (shipped, "seattle_weather", "weather"),
    "stocks": (shipped, "stocks", "price"),
    "barley": (shipped, "barley", "yield"),
    "sf_temps": (shipped, "sf_temps", "temp"),
    "wheat": (shipped, "wheat", "wheat"),
    "driving": (shipped, "driving", "gas"),
    "airports": (shipped, "airports", "latitude"),
}


def as_numbers(column):
    return (
        column.astype(float)
        if column.dtype.kind in "biuf"
        else pd.Series(pd.factorize(column)[0], column.index)
    )


@pytest.mark.parametrize("name", TABLES)
def test_honest_tables_raise_no_alarm(name):
    make, *given = TABLES[name]
    table, target = make(*given)
    table, target = table.apply(as_numbers), as_numbers(target).to_numpy()
    assert [
        column for column in table if too_exact(table[column].to_numpy(float), target, name in NUMBERS)
    ] == []
    assert common_shares({column: table[column].to_numpy(float) for column in table}) == {}


@pytest.mark.skipif(MIRROR not in os.environ, reason="the real files are in the mirror only")
def test_defects_and_ci_history_raise_no_alarm():
    mirror = Path(os.environ[MIRROR])
    projects = ("jm1", "kc1", "pc1", "pc2", "pc3")
    modules = nasa_mdp.read(
        {f"nasa_mdp_{name}": mirror / "nasa_mdp" / f"{name.upper()}.arff" for name in projects}
    )
    history = pd.read_csv(mirror / "iofrol" / "iofrol.csv", sep=None, engine="python")
    before = history.groupby("Name")["Verdict"].transform(
        lambda verdicts: verdicts.shift().expanding().mean()
    )
    history = history.assign(failed_before=before)
    for table, target in ((modules, "defective"), (history, "Verdict")):
        inputs = table.drop(columns=target).apply(as_numbers)
        assert [
            column
            for column in inputs
            if too_exact(inputs[column].to_numpy(float), as_numbers(table[target]).to_numpy(), False)
        ] == []


@pytest.mark.skipif(MIRROR not in os.environ, reason="the real files are in the mirror only")
@pytest.mark.parametrize("group", ["F55", "F20", "F21"])
def test_shares_of_acted_on_warnings_by_file_pattern_and_type_are_named(group):
    """The leaking columns of the FindBugs warnings, made again as their authors define them."""
    folder = Path(os.environ[MIRROR]) / "warning_acceptance"
    tables = [
        pd.read_parquet(folder / f"{project}.train.parquet") for project in ("flink", "jenkins", "kudu")
    ]
    targets = [(table["label_close_is_accepted"] == "close").astype(float) for table in tables]
    context = [
        2 * target.groupby(table[group]).transform("mean") - 1
        for table, target in zip(tables, targets, strict=True)
    ]
    target = pd.concat(targets).to_numpy()
    column = pd.concat(context).to_numpy(dtype=np.float32)[:, None]
    assert set(telling_columns(column, ("context",), target, False, 7)) == {"context"}


def groups(rows=6_000, several=300, seed=5):
    """Groups of very different size, each with its own rate of the target."""
    random = np.random.default_rng(seed)
    group = np.minimum(random.geometric(0.02, rows), several)
    rate = random.beta(2, 4, several + 1)
    return random, group, (random.random(rows) < rate[group]).astype(float), rate[group]


def share_by(group, target):
    return pd.Series(target).groupby(group).transform("mean").to_numpy()


def test_a_share_of_the_target_is_named_and_the_true_rate_is_not():
    random, group, target, rate = groups()
    share = share_by(group, target)
    own = np.column_stack([share, 2 * share - 1, rate, random.normal(size=len(rate))]).astype(np.float32)
    assert set(telling_columns(own, ("share", "difference", "rate", "noise"), target, False, 7)) == {
        "share",
        "difference",
    }
    assert set(common_shares({"share": share, "difference": 2 * share - 1, "rate": rate})) == {
        "share",
        "difference",
    }


def test_a_share_of_one_of_several_classes_and_a_mean_of_numbers_are_named():
    random, group, target, rate = groups()
    classes = target + (random.random(len(target)) < 0.4)
    assert too_exact(share_by(group, classes == 2), classes, False)
    numbers = random.gamma(2, 10 * (1 + rate))
    assert too_exact(share_by(group, numbers), numbers, True)
    assert not too_exact(rate, numbers, True)


@pytest.mark.parametrize("unit", [1e-9, 1e-6, 1, 1e9])
def test_a_mean_of_numbers_is_named_in_every_unit(unit):
    random, group, _, rate = groups()
    numbers = unit * (50 + random.gamma(2, 1 + rate))
    assert too_exact(share_by(group, numbers), numbers, True)
    assert not too_exact(rate, numbers, True)
    assert not too_exact(rate, np.full(len(rate), unit), True)


def test_a_share_is_named_where_a_third_of_its_rows_is_gone():
    random, group, target, _ = groups()
    kept = random.random(len(target)) < 2 / 3
    assert too_exact(share_by(group, target)[kept], target[kept], False)


def test_shares_over_other_rows_and_smoothed_ones_are_beyond_it():
    """What the guide says is not found: earlier rows only (rightly), and other rows only."""
    _, group, target, _ = groups()
    past = pd.Series(target).groupby(group).transform(lambda before: before.shift().expanding().mean())
    assert not too_exact(past.to_numpy(), target, False)
    inner = TargetEncoder(random_state=0).fit_transform(group[:, None], target)[:, 0]
    assert not too_exact(inner, target, False)


@pytest.mark.parametrize("seed", range(40))
def test_honest_rates_of_groups_are_never_named(seed):
    for several in (8, 40, 300):
        _, _, target, rate = groups(3_000, several, seed)
        assert not too_exact(rate, target, False)


def test_figures_of_the_same_groups_as_a_share_are_tied_to_it_and_those_of_rows_are_not():
    random, group, target, rate = groups()
    share = share_by(group, target)
    others = share_by(group // 3, target)
    columns = {
        "share": share,
        "copy": share.copy(),
        "variance": share * (1 - share),
        "of larger groups": others,
        "noise": random.normal(size=len(rate)),
        "nearly": np.where(random.random(len(rate)) < 0.05, 0.5, rate),
        "two values": (share > 0.3).astype(float),
    }
    assert tied_to_shares(columns, ["share"]) == {"copy": "share", "variance": "share"}
    assert tied_to_shares(columns, ["share", "of larger groups"]) == {"copy": "share", "variance": "share"}
    assert tied_to_shares(columns, []) == {}


@pytest.mark.parametrize("mostly", [np.nan, 0.0])
def test_a_column_that_is_nearly_always_the_same_is_tied_to_no_share(mostly):
    share = np.repeat(np.arange(1_000) / 1_000, 3)
    rare = np.where(np.arange(3_000) % 400 == 7, np.arange(3_000.0), mostly)
    assert tied_to_shares({"share": share, "rare": rare}, ["share"]) == {}
