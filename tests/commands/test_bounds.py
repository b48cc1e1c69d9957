"""`perennial evaluate --bounds`: the figures of the last evaluation beside the bounds of the gate."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from perennial.commands.steps import evaluate
from perennial.errors import GateFailed, UsageError

MODEL = "test_failure_predictor"


def run(folder, *options: str):
    return CliRunner().invoke(evaluate, [MODEL, "--workdir", str(folder), "--bounds", *options])


def write(folder, **figures: float) -> None:
    by_name = {f"holdout.{name.replace('__', '.')}": value for name, value in figures.items()}
    (folder / "metrics.json").write_text(json.dumps(by_name))


def bounded() -> dict:
    from perennial import catalog
    from perennial.settings import load

    return dict(catalog.spec(MODEL, load()).gate.metrics)


def test_good_figures_pass_and_are_shown_with_their_bounds(tmp_path):
    met = {name: bound.min if bound.min is not None else bound.max for name, bound in bounded().items()}
    write(tmp_path, **met)
    done = run(tmp_path, "--json")
    assert done.exit_code == 0, done.output
    assert {row["rule"]: row["verdict"] for row in json.loads(done.stdout)} == dict.fromkeys(met, "PASS")


def test_a_missed_bound_is_named(tmp_path):
    name, bound = next((name, bound) for name, bound in bounded().items() if bound.min is not None)
    write(tmp_path, **{name: bound.min - 0.3})
    done = run(tmp_path)
    assert isinstance(done.exception, GateFailed)
    assert f"{name} is {bound.min - 0.3:.4f}, needed >= {bound.min:g}" in str(done.exception)


def test_a_bound_inside_the_interval_is_for_a_person_to_decide(tmp_path):
    met = {name: bound.min if bound.min is not None else bound.max for name, bound in bounded().items()}
    name, bound = next((name, bound) for name, bound in bounded().items() if bound.min is not None)
    write(tmp_path, **{**met, name: bound.min - 0.01, f"{name}__high": bound.min + 0.01})
    done = run(tmp_path)
    assert done.exit_code == 0, done.output
    assert "UNSURE" in done.output


def test_without_an_evaluation_it_says_what_to_do(tmp_path):
    done = run(tmp_path)
    assert isinstance(done.exception, UsageError)
    with pytest.raises(UsageError, match=r"metrics\.json is missing"):
        raise done.exception
