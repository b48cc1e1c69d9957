"""`perennial ab`: analyse A/B tests, and plan them."""

from __future__ import annotations

import csv
import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from perennial import settings as environment
from perennial.errors import DataError, MalformedInput, UsageError

if TYPE_CHECKING:
    from perennial.commands.ab_view import Table
    from perennial.core.experiment.analysis import ExperimentAnalysis, Variant

KINDS = click.Choice(["binary", "continuous", "count"])
OUTCOMES = click.Choice(["right", "label", "reward", "events"])
CHANCE = 0.05
"""Of a wrong decision about a file, where nobody says another."""


class Between(click.ParamType):
    """A number strictly between two others, so never `nan` nor `inf`, which `click.FLOAT` takes."""

    name = "float"

    def __init__(self, low: float, high: float) -> None:
        self._low, self._high = low, high

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = click.FLOAT.convert(value, param, ctx)
        if not self._low < number < self._high:
            self.fail(f"{value} is not between {self._low:g} and {self._high:g}", param, ctx)
        return number


FINITE = Between(-math.inf, math.inf)
POSITIVE = Between(0.0, math.inf)
PROBABILITY = Between(0.0, 1.0)
LARGEST = 1e12
"""As of a reward: squares are summed, and beyond this a sum of them says nothing any more."""


@click.group()
def ab() -> None:
    """Analyse and plan A/B tests of models."""


@ab.command()
@click.argument("source")
@click.option(
    "--release", "release_id", default=None, help="Of a model: its id; the newest that split users."
)
@click.option("--outcome", type=OUTCOMES, default=None, help="Of a model's users.  [default: right]")
@click.option("--kind", type=KINDS, default=None, help="Of a file's outcomes.  [default: binary]")
@click.option("--control", default=None, help="Of a file: the arm that others are compared with; the first.")
@click.option("--shares", default=None, help="Of a file: asked for, as B=20,A=80; equal by default.")
@click.option(
    "--alpha",
    type=PROBABILITY,
    default=None,
    help="Chance of a wrong decision at any look.  "
    "[default: 1 - release.criteria.confidence of the spec; of a file 0.05]",
)
@click.option(
    "--worth",
    type=FINITE,
    default=0.0,
    show_default=True,
    help="Smallest difference of means worth a change.",
)
@click.option("--picture", type=click.Path(path_type=Path), help="Write a PNG here.")
@click.option("--html", "page", type=click.Path(path_type=Path), help="Write a page here.")
@click.option("--json", "as_json", is_flag=True)
def analyse(
    source: str, release_id: str | None, outcome: str | None, kind: str | None, control: str | None,
    shares: str | None, alpha: float | None, worth: float, picture: Path | None, page: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Compare arms. SOURCE is a model, whose newest split is analysed user by user: `right` share of right
    answers, `label` share of positive labels, `reward` mean reward, `events` positive labels. Or SOURCE is a
    CSV file with columns arm and outcome (and exposure, for counts), one row an observation."""
    from perennial.commands import ab_view

    if Path(source).is_file():
        _only("a model", release=release_id, outcome=outcome)
        chance = CHANCE if alpha is None else alpha
        found = _of_file(Path(source), kind or "binary", control, shares, chance, worth)
        told, more = [], {}
    else:
        _only("a file", kind=kind, control=control, shares=shares)
        found, told, more = _of_model(source, release_id, outcome or "right", alpha, worth)
    tables = [*told, *ab_view.tables(found)]
    if picture or page:
        from perennial.wiring import versions

        reporter = versions.ab_report()
        if picture:
            reporter.write_picture(found, picture)
        if page:
            reporter.write_page(found, f"A/B test of {source}", tables, page)
    if as_json:
        click.echo(json.dumps({**found.model_dump(mode="json"), **more}, indent=2))
    else:
        _show(tables)


@ab.command()
@click.option("--kind", type=KINDS, default="binary", show_default=True)
@click.option("--base", type=FINITE, required=True, help="Mean outcome of the control.")
@click.option("--other", type=FINITE, required=True, help="Mean outcome that shall be found.")
@click.option("--deviation", type=POSITIVE, help="Standard deviation of an outcome; continuous only.")
@click.option("--alpha", type=PROBABILITY, default=0.05, show_default=True)
@click.option("--power", type=PROBABILITY, default=0.8, show_default=True)
def size(kind: str, base: float, other: float, deviation: float | None, alpha: float, power: float) -> None:
    """How many observations each of two arms needs, for one look at the end."""
    from perennial.core.experiment import design

    try:
        if kind == "continuous":
            if deviation is None:
                raise UsageError("continuous outcomes need their deviation", hint="--deviation 2.5")
            n = design.sample_size_continuous(other - base, deviation, alpha, power)
        else:
            plan = design.sample_size_binary if kind == "binary" else design.sample_size_count
            n = plan(base, other, alpha, power)
        whole = math.ceil(n)
    except (ValueError, ArithmeticError) as error:
        raise UsageError(f"{base:g} and {other:g}: {error}", hint="two different means in range") from error
    click.echo(f"{whole} per arm ({n:.6f}), {2 * whole} together")


def read_arms(path: Path) -> list[Variant]:
    """Sums by arm, in order of name.

    Raises:
        MalformedInput: names the line where a column is missing or a value is no number, or not one that can be
            summed, or an exposure is not above zero.
    """
    from perennial.core.experiment.analysis import Variant

    sums: dict[str, list[float]] = {}
    line = 1
    try:
        with path.open(newline="") as file:
            rows = csv.DictReader(file)
            for row in rows:
                line = rows.line_num
                name, value, exposure = _observation(row)
                known = sums.setdefault(name, [0, 0.0, 0.0, 0.0])
                for place, new in enumerate((1, value, value * value, exposure)):
                    known[place] += new
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise MalformedInput(
            f"{path}, line {line}: {error}",
            hint="columns arm and outcome, and exposure for counts; outcomes are numbers",
        ) from error
    return [
        Variant(name=name, n=n, total=total, squares=squares, exposure=exposure or None)
        for name, (n, total, squares, exposure) in sorted(sums.items())
    ]


def _observation(row: dict[str, str]) -> tuple[str, float, float]:
    """Arm, outcome and exposure."""
    if row["arm"] is None:  # a short row
        raise ValueError("there is no arm")
    name, value, exposure = row["arm"], float(row["outcome"]), float(row.get("exposure") or 1.0)
    if not abs(value) <= LARGEST:  # written so that NaN fails too
        raise ValueError(f"outcome is {row['outcome']}: a number from {-LARGEST:g} to {LARGEST:g}")
    if not 0.0 < exposure <= LARGEST:
        raise ValueError(f"exposure is {row['exposure']}: a number above 0, at most {LARGEST:g}")
    return name, value, exposure


def _only(what: str, **given: str | None) -> None:
    wrong = [f"--{name}" for name, value in given.items() if value is not None]
    if wrong:
        raise UsageError(f"{', '.join(wrong)}: only of {what}", hint="perennial ab analyse --help")


def _of_file(
    path: Path, kind: str, control: str | None, shares: str | None, alpha: float, worth: float
) -> ExperimentAnalysis:
    from perennial.core.experiment import analysis as core

    arms = _control_first(read_arms(path), control)
    asked = _shares(shares, [arm.name for arm in arms])
    try:
        return core.analyse(kind, arms, asked, alpha, worth)
    except ValueError as error:
        raise DataError(f"{path}: {error}", hint="see --kind; collect more observations") from error


def _of_model(
    model: str, release_id: str | None, outcome: str, alpha: float | None, worth: float
) -> tuple[ExperimentAnalysis, list[Table], dict[str, Any]]:
    """The analysis, which test it is as a table, and the same for machines."""
    from perennial import catalog
    from perennial.commands import ab_view
    from perennial.core.experiment import analysis as core
    from perennial.flows.experiment import gather as flow
    from perennial.flows.monitoring import feedback
    from perennial.wiring import database, releasing

    settings = environment.load()
    policy = catalog.spec(model, settings).release
    store = database.store(settings)
    feedback.ingest(releasing.feedback_inbox(settings), store.feedback)
    experiment = flow.find_experiment(model, release_id, store.releases, store.ledger, datetime.now(UTC))
    seen = flow.gather(experiment, outcome, releasing.prediction_log(settings), store.feedback)
    assigned = tuple(seen.units.by_arm.get(arm.name, 0) for arm in seen.arms)
    try:
        found = core.analyse(
            flow.OUTCOME_KINDS[outcome], seen.arms, experiment.shares,
            1.0 - policy.criteria.confidence if alpha is None else alpha,
            worth, assigned, policy.ab.mismatch,
        )  # fmt: skip
    except ValueError as error:
        raise DataError(
            f"{model}, release {experiment.release_id}: {error}",
            hint="labels and rewards come by POST /v1/feedback; see --outcome",
        ) from error
    more = {
        "experiment": experiment.model_dump(mode="json"),
        "units": seen.units.model_dump(),
        "outcome": outcome,
    }
    return found, [ab_view.about(experiment, seen.units, outcome)], more


def _control_first(arms: list[Variant], control: str | None) -> tuple[Variant, ...]:
    names = [arm.name for arm in arms]
    if control is not None and control not in names:
        raise UsageError(f"no arm {control!r}", hint=f"arms: {', '.join(names)}")
    if len(arms) < 2:
        raise DataError(f"one arm cannot be compared: {', '.join(names)}", hint="column arm names them")
    return tuple(sorted(arms, key=lambda arm: (arm.name != control, arm.name)))


def _shares(told: str | None, names: list[str]) -> tuple[float, ...]:
    if told is None:
        return (1.0,) * len(names)
    try:
        by_name = {name: float(share) for name, _, share in (one.partition("=") for one in told.split(","))}
        found = tuple(by_name.pop(name) for name in names)
    except (ValueError, KeyError) as error:
        raise UsageError(
            f"--shares {told}: {error}", hint="; ".join(f"{name}=50" for name in names)
        ) from error
    if by_name or not all(0.0 < share < math.inf for share in found):
        raise UsageError(f"--shares {told}", hint="a positive share for each arm and no other")
    return found


def _show(tables: list[Table]) -> None:
    from perennial.commands.tables import print_table

    for header, *rows in tables:
        print_table(header, rows)
