"""The parts of the spec of a forecast that follow from its series, as YAML."""

from __future__ import annotations

from perennial.core.tasks.windows import PHASE, SERIES, STEP
from perennial.core.training.drafts.series_draft import SLACK, SeriesFound
from perennial.core.training.drafts.spec_draft import SeriesText
from perennial.core.training.drafts.thresholds import Thresholds, quote, rounded


def series_text(series: SeriesFound) -> SeriesText:
    """Return task, gate and inputs; the gate asks for no more than the better naive forecast, with some slack."""
    task, bound = series.task, rounded(SLACK * series.naive_mase)
    values = Thresholds(
        task=(
            f"task:\n  kind: forecast\n  unit: {quote(task.unit)}\n  frequency: {task.frequency.value}\n"
            f"  horizon: {task.horizon}  # periods ahead\n"
            f"  past: {task.past}  # last values that a request carries\n"
            f"  season: {task.season}  # periods; 1: none\n"
            f"  quantiles: {quote(list(task.quantiles))}  # the outermost two are the interval"
        ),
        metrics=(
            f"    mase: {{max: {bound}}}  # {SLACK:g} times that of the {series.naive} on the latest periods\n"
            f"    coverage: {{min: {rounded(task.interval - 0.15)}}}  # share of values between the outermost quantiles"
        ),
        improvement="{metric: mase, min_delta: -0.05}",
        tolerance="{mase: 0.02, scaled_pinball: 0.02}",
        epochs=60,
    )
    types = {STEP: "int", PHASE: "int"}
    inputs = [f"    {name}: {{type: {types.get(name, 'float')}, missing: refuse}}" for name in series.inputs]
    if series.names:
        known = f"categories: {quote(list(series.names))}, unknown: missing"
        inputs[-1] = f"    {SERIES}: {{type: category, missing: refuse, {known}}}"
    watched = [series.inputs[0], SERIES if series.names else series.inputs[task.past - 1]]
    return SeriesText(values, inputs, watched, task.horizon)
