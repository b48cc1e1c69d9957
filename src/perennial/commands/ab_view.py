"""An A/B analysis as tables of text, for the terminal and the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perennial.core.experiment.analysis import ExperimentAnalysis, VariantComparison
    from perennial.core.experiment.live_experiment import Experiment
    from perennial.core.release.traffic import Units

Table = list[list[str]]
"""The first row is its header."""


def tables(found: ExperimentAnalysis) -> list[Table]:
    return [_decisions(found), _arms(found), _comparisons(found), [["split"], [split(found)]]]


def about(experiment: Experiment, units: Units, outcome: str) -> Table:
    """Which live test it is."""
    until = "now" if experiment.running else f"{experiment.until:%Y-%m-%d %H:%M:%S}"
    control, treatment = (units.by_arm.get(arm, 0) for arm in (experiment.control, experiment.treatment))
    header = ["release", "experiment", "since (UTC)", "until", "users", "candidate", "both sides", "outcome"]
    return [
        header,
        [
            experiment.release_id,
            experiment.name,
            f"{experiment.since:%Y-%m-%d %H:%M:%S}",
            until,
            str(control + treatment),
            f"{treatment}, asked for {experiment.weight:g} %",
            str(units.crossed),
            outcome,
        ],
    ]


def split(found: ExperimentAnalysis) -> str:
    ratio = found.ratio
    said = "ALARM: not the shares that were asked for" if ratio.alarm else "as asked for"
    return f"{said} (chi-square p {ratio.p_value:.4g}, at every look {ratio.sequential_p:.4g})"


def _arms(found: ExperimentAnalysis) -> Table:
    rows = [["arm", "n", "mean", "95 % credible"]]
    for arm, known in zip(found.arms, found.means, strict=True):
        rows.append([arm.name, str(arm.n), f"{arm.mean:.5g}", f"{known.low:.5g} to {known.high:.5g}"])
    return rows


def _comparisons(found: ExperimentAnalysis) -> Table:
    rows = [
        ["treatment", "P(better)", "difference", "valid at every look", "lift", "expected loss", "n needed"]
    ]
    for one in found.comparisons:
        now, wide = one.difference_interval, one.sequential_interval
        rows.append(
            [
                one.treatment,
                f"{one.superiority:.4f}",
                f"{one.difference:+.4g} [{now.low:+.4g}, {now.high:+.4g}]",
                f"{wide.low:+.4g} to {wide.high:+.4g}",
                _lift(one),
                f"{one.expected_loss:.3g}",
                "-" if one.needed is None else f"{one.needed} per arm",
            ]
        )
    return rows


def _lift(one: VariantComparison) -> str:
    wide = one.lift_interval
    return "-" if one.lift is None or wide is None else f"{one.lift:+.1%} [{wide.low:+.1%}, {wide.high:+.1%}]"


def _decisions(found: ExperimentAnalysis) -> Table:
    return [["treatment", "decision", "why"]] + [
        [one.treatment, one.decision.value, one.why] for one in found.comparisons
    ]
