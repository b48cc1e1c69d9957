"""Text tables of an A/B analysis, for the terminal and the HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perennial.core.experiment.analysis import ExperimentAnalysis
    from perennial.core.experiment.live_experiment import Experiment
    from perennial.core.release.traffic import UserCounts

Table = list[list[str]]
"""Rows of cells; the first row is the header."""


def tables(analysis: ExperimentAnalysis) -> list[Table]:
    decisions = [[row.treatment, row.decision.value, row.why] for row in analysis.comparisons]
    return [
        [["treatment", "decision", "why"], *decisions],
        _variants(analysis),
        _comparisons(analysis),
        [["split"], [split(analysis)]],
    ]


def about(experiment: Experiment, units: UserCounts, outcome: str, sources: Mapping[str, int]) -> Table:
    """Return the table that identifies the live test."""
    until = "now" if experiment.running else f"{experiment.until:%Y-%m-%d %H:%M:%S}"
    control, treatment = (
        units.by_variant.get(name, 0) for name in (experiment.control, experiment.treatment)
    )
    return [
        [
            "release",
            "experiment",
            "since (UTC)",
            "until",
            "users",
            "candidate",
            "both variants",
            "outcome",
            "by source",
        ],
        [
            experiment.release_id,
            experiment.name,
            f"{experiment.since:%Y-%m-%d %H:%M:%S}",
            until,
            str(control + treatment),
            f"{treatment}, intended {experiment.weight:g} %",
            str(units.crossed),
            outcome,
            ", ".join(f"{source} {count}" for source, count in sorted(sources.items())) or "-",
        ],
    ]


def split(analysis: ExperimentAnalysis) -> str:
    ratio = analysis.ratio
    text = "ALARM: not the intended shares" if ratio.alarm else "as intended"
    return f"{text} (chi-square p {ratio.p_value:.4g}, at every look {ratio.sequential_p:.4g})"


def _variants(analysis: ExperimentAnalysis) -> Table:
    rows = [["variant", "n", "mean", "95 % credible"]]
    for variant, mean in zip(analysis.variants, analysis.means, strict=True):
        rows.append(
            [variant.name, str(variant.n), f"{variant.mean:.5g}", f"{mean.low:.5g} to {mean.high:.5g}"]
        )
    return rows


def _comparisons(analysis: ExperimentAnalysis) -> Table:
    rows = [
        ["treatment", "P(better)", "difference", "valid at every look", "lift", "expected loss", "n needed"]
    ]
    for comparison in analysis.comparisons:
        now, wide = comparison.difference_interval, comparison.sequential_interval
        lift, around = comparison.lift, comparison.lift_interval
        rows.append(
            [
                comparison.treatment,
                f"{comparison.superiority:.4f}",
                f"{comparison.difference:+.4g} [{now.low:+.4g}, {now.high:+.4g}]",
                f"{wide.low:+.4g} to {wide.high:+.4g}",
                f"{lift:+.1%} [{around.low:+.1%}, {around.high:+.1%}]"
                if lift is not None and around
                else "-",
                f"{comparison.expected_loss:.3g}",
                "-" if comparison.needed is None else f"{comparison.needed} together",
            ]
        )
    return rows
