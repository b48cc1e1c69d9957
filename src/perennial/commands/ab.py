"""`perennial ab`: analyse A/B tests, and plan them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from perennial import settings as environment
from perennial.commands.output import JSON, now, print_json, print_table
from perennial.errors import UsageError

if TYPE_CHECKING:
    from perennial.core.experiment.design import Kind

KINDS = click.Choice(["binary", "continuous", "count"])
OUTCOMES = click.Choice(["right", "label", "reward", "events"])
FILE_ALPHA = 0.05
"""Default probability of a wrong decision for a file."""


class Between(click.ParamType):
    """A number strictly between two bounds; unlike `click.FLOAT` it rejects `nan` and `inf`."""

    name = "float"

    def __init__(self, low: float, high: float) -> None:
        self._low, self._high = low, high

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = click.FLOAT.convert(value, param, ctx)
        if not self._low < number < self._high:
            self.fail(f"{value} is not between {self._low:g} and {self._high:g}", param, ctx)
        return number


class Shares(click.ParamType):
    """Shares by variant, as in `B=20,A=80`."""

    name = "shares"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, float]:
        try:
            pairs = [part.partition("=") for part in value.split(",")]
            return {name: float(share) for name, _, share in pairs}
        except ValueError as error:
            self.fail(f"{error}; write NAME=SHARE,NAME=SHARE", param, ctx)


FINITE = Between(-math.inf, math.inf)
POSITIVE = Between(0.0, math.inf)
PROBABILITY = Between(0.0, 1.0)


@click.group()
def ab() -> None:
    """Analyse and plan A/B tests of models."""


@ab.command()
@click.argument("source")
@click.option(
    "--release", "release_id", help="Model only: release id.  [default: the newest release with a split]"
)
@click.option("--outcome", type=OUTCOMES, help="Model only: outcome to compare.  [default: right]")
@click.option("--kind", type=KINDS, help="File only: kind of the outcomes.  [default: binary]")
@click.option("--control", help="File only: variant to compare with.  [default: the first name]")
@click.option("--shares", type=Shares(), help="File only: intended shares, as B=20,A=80.  [default: equal]")
@click.option(
    "--alpha",
    type=PROBABILITY,
    help="Probability of a wrong decision at any look.  "
    "[default: 1 - release.criteria.confidence of the spec; for a file 0.05]",
)
@click.option(
    "--worth",
    type=FINITE,
    default=0.0,
    show_default=True,
    help="Smallest difference of means worth a change.",
)
@click.option("--picture", type=click.Path(path_type=Path), help="Write a PNG to this path.")
@click.option("--html", "page", type=click.Path(path_type=Path), help="Write an HTML page to this path.")
@JSON
def analyse(
    source: str, release_id: str | None, outcome: str | None, kind: Kind | None, control: str | None,
    shares: dict[str, float] | None, alpha: float | None, worth: float, picture: Path | None, page: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Compare the variants of an A/B test.

    SOURCE is a model, whose newest split is analysed user by user: `right` share of right answers, `label`
    share of positive labels, `reward` mean reward, `events` positive labels. Or SOURCE is a CSV file with the
    columns arm and outcome (and exposure, for counts), a row per observation.
    """
    from perennial.commands import ab_view

    more: dict[str, Any] = {}
    if Path(source).is_file():
        from perennial.flows.experiment.analyse import analyse_file

        _reject("a model", release=release_id, outcome=outcome)
        chance = FILE_ALPHA if alpha is None else alpha
        analysis = analyse_file(Path(source), kind or "binary", control, shares, chance, worth)
        tables = ab_view.tables(analysis)
    else:
        from perennial import catalog
        from perennial.flows.experiment.analyse import analyse_live
        from perennial.wiring import monitoring

        _reject("a file", kind=kind, control=control, shares=shares)
        settings, outcome = environment.load(), outcome or "right"
        live = analyse_live(
            catalog.spec(source, settings), release_id, outcome, alpha, worth,
            monitoring.experiment_ports(settings), now(),
        )  # fmt: skip
        analysis = live.analysis
        tables = [
            ab_view.about(live.experiment, live.units, outcome, live.sources),
            *ab_view.tables(analysis),
        ]
        more = {
            "experiment": live.experiment.model_dump(mode="json"),
            "units": live.units.model_dump(),
            "sources": dict(live.sources),
            "outcome": outcome,
        }
    if picture or page:
        from perennial.wiring import versions

        reporter = versions.ab_report()
        if picture:
            reporter.write_picture(analysis, picture)
        if page:
            reporter.write_page(analysis, f"A/B test of {source}", tables, page)
    if as_json:
        print_json({**analysis.model_dump(mode="json", by_alias=True), **more})
        return
    for header, *rows in tables:
        print_table(header, rows)


@ab.command()
@click.option("--kind", type=KINDS, default="binary", show_default=True, help="Kind of the outcomes.")
@click.option("--base", type=FINITE, required=True, help="Mean outcome of the control.")
@click.option("--other", type=FINITE, required=True, help="Mean outcome of the treatment to detect.")
@click.option("--deviation", type=POSITIVE, help="Standard deviation of an outcome; continuous only.")
@click.option(
    "--alpha", type=PROBABILITY, default=0.05, show_default=True, help="Probability of a false positive."
)
@click.option("--power", type=PROBABILITY, default=0.8, show_default=True, help="Probability of detection.")
@click.option(
    "--share", type=PROBABILITY, default=0.5, show_default=True, help="Share of the treatment in the traffic."
)
@JSON
def size(
    kind: Kind, base: float, other: float, deviation: float | None, alpha: float, power: float, share: float,
    as_json: bool,
) -> None:  # fmt: skip
    """Print the observations that an A/B test of two variants needs.

    Beside those of the decision of `ab analyse`, which may be looked at whenever one likes: those of a test of equal
    groups that is looked at once, at its end, which promises nothing for an earlier look.
    """
    from perennial.core.experiment import design
    from perennial.core.experiment.sequence import decision_size

    try:
        if kind == "continuous":
            if deviation is None:
                raise UsageError("continuous outcomes need their deviation", hint="--deviation 2.5")
            n = design.sample_size_continuous(other - base, deviation, alpha, power)
        else:
            plan = design.sample_size_binary if kind == "binary" else design.sample_size_count
            n = plan(base, other, alpha, power)
        together = decision_size(kind, base, other - base, deviation or 0.0, alpha, power, share)
    except (ValueError, ArithmeticError) as error:
        raise UsageError(f"{base:g} and {other:g}: {error}", hint="two different means in range") from error
    if together is None:
        raise UsageError(f"{base:g} and {other:g} are no means of such outcomes", hint="two means in range")
    treated = math.ceil(share * together)
    if as_json:
        print_json({"together": together, "treatment": treated, "single_look": 2 * math.ceil(n)})
        return
    print_table(
        ["decided", "control", "treatment", "together"],
        [
            ["at any look, as by ab analyse", str(together - treated), str(treated), str(together)],
            ["once, at the end", *[str(math.ceil(n))] * 2, str(2 * math.ceil(n))],
        ],
    )


def _reject(source: str, **options: object) -> None:
    """Raise UsageError if an option is given that is only valid for another source."""
    wrong = [f"--{name}" for name, value in options.items() if value is not None]
    if wrong:
        raise UsageError(f"{', '.join(wrong)}: only for {source}", hint="perennial ab analyse --help")
