"""Picture of a performance report (Matplotlib): usage, right answers, latency and scores over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from perennial.core.performance.figures import PeriodFigures
from perennial.core.performance.report import PerformanceReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_performance(report: PerformanceReport, path: Path) -> None:
    """Write the picture as a PNG file; figures that nobody measured leave gaps."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 8.5), dpi=130, layout="constrained")
    panels: tuple[Callable[[Axes, PerformanceReport], None], ...] = (_usage, _right, _latency, _scores)
    for axes, draw in zip(figure.subplots(2, 2).flat, panels, strict=True):
        draw(axes, report)
        _mark(axes, report)
        locator = AutoDateLocator()
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        axes.set_xlim(min([report.begin, *(period.begin for period in report.periods)]), report.end)
        axes.set_xlabel("begin of the period [UTC]")
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8)
    figure.suptitle(f"{report.model}: {report.begin:%Y-%m-%d %H:%M} to {report.end:%Y-%m-%d %H:%M}")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})


def _mark(axes: Axes, report: PerformanceReport) -> None:
    """Mark the first answer of each later version, and the odd periods."""
    for use in report.versions[1:]:
        axes.axvline(use.first, color="black", linewidth=0.8, linestyle=":")
        axes.annotate(use.version, (use.first, 1.0), xycoords=("data", "axes fraction"), fontsize=7, rotation=90,
                      va="top", ha="right")  # fmt: skip
    for odd in report.anomalies:
        axes.axvline(odd.begin, color="tab:red", linewidth=0.8, alpha=0.6)


def _usage(axes: Axes, report: PerformanceReport) -> None:
    periods = report.periods
    for name in ("predictions", "requests", "labelled"):
        axes.plot([period.begin for period in periods], [getattr(period, name) for period in periods], marker=".",
                  label=name)  # fmt: skip
    axes.set(title="Usage", ylabel="number per period")
    axes.set_ylim(bottom=0)


def _right(axes: Axes, report: PerformanceReport) -> None:
    known = [(period, period.right) for period in report.periods if period.right is not None]
    bounded = [(period, right) for period, right in known if right.is_bounded]
    axes.fill_between(
        [period.begin for period, _ in bounded],
        [100 * max(right.low, 0.0) for _, right in bounded],
        [100 * min(right.high, 1.0) for _, right in bounded],
        alpha=0.2, label="95 % interval by runs of time",
    )  # fmt: skip
    axes.plot([period.begin for period, _ in known], [100 * right.value for _, right in known], marker=".",
              label="right answers")  # fmt: skip
    axes.set(title="Right answers of those with a label", ylabel="share [%]", ylim=(0, 103))


def _latency(axes: Axes, report: PerformanceReport) -> None:
    for name in ("p50", "p95", "p99"):
        axes.plot(*_series(report.periods, lambda period, name=name: period.latency_ms.get(name)), marker=".",
                  label=name)  # fmt: skip
    axes.set(title="Latency of the model servers", ylabel="time per request [ms]")
    axes.set_ylim(bottom=0)


def _scores(axes: Axes, report: PerformanceReport) -> None:
    axes.plot(*_series(report.periods, lambda period: period.mean_score), marker=".", label="mean score")
    axes.plot(*_series(report.periods, lambda period: period.unknown_share), marker=".",
              label="share without any known feature")  # fmt: skip
    axes.set(title="Answers", ylabel="score, or share")


def _series(
    periods: Sequence[PeriodFigures], value: Callable[[PeriodFigures], float | None]
) -> tuple[list, list]:
    known = [(period.begin, value(period)) for period in periods if value(period) is not None]
    return [begin for begin, _ in known], [number for _, number in known]
