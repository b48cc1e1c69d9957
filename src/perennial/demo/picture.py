"""Picture of the loop: shares of the requests and accuracy of the answers by version."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pandas as pd

from perennial.demo.accuracy import rolling
from perennial.demo.events import TimedEvent


def shares(log: pd.DataFrame, seconds: float) -> pd.DataFrame:
    """Return percent of answered predictions by version (columns) in bins of `seconds` (index: seconds)."""
    live = log[~log["shadow"]].assign(bin=lambda frame: (frame["second"] // seconds) * seconds)
    counts = live.groupby(["bin", "version"]).size().unstack(fill_value=0)
    return counts.div(counts.sum(axis=1), axis=0) * 100


def draw(
    path: Path,
    log: pd.DataFrame,
    known: pd.DataFrame,
    events: list[TimedEvent],
    start: datetime,
    title: str,
    window: int,
) -> None:
    """Write the picture as PNG.

    Args:
        log: the prediction log; columns at (UTC), version, shadow.
        known: as `accuracy.labelled` returns them.
        events: events of the demo; those with a `mark` become vertical lines.
        start: second 0 of the time axis.
        window: labelled predictions per point of the accuracy.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    log, known = (
        rows.assign(second=(rows["at"] - pd.Timestamp(start)).dt.total_seconds()) for rows in (log, known)
    )
    figure, (top, bottom) = pyplot.subplots(2, 1, figsize=(11, 7), sharex=True, layout="constrained")
    share = shares(log, seconds=2.0)
    colours = dict(zip(share.columns, pyplot.get_cmap("tab10").colors, strict=False))
    top.stackplot(
        share.index, share.T, labels=list(share.columns), colors=list(colours.values()), step="post"
    )
    top.set(ylabel="share of requests [%]", ylim=(0, 100), title=title)
    for version, rows in rolling(known, window).groupby("version"):
        bottom.plot(rows["second"], rows["rolling"], color=colours[version], label=version)
    bottom.set(
        xlabel="time since the first request [s]",
        ylabel=f"accuracy, last {window} labelled [%]",
        ylim=(0, 103),
    )
    end = float(log["second"].max())
    bottom.set_xlim(-5, end * 1.12)  # room for the last labels
    marked = [(event, (event.at - start).total_seconds()) for event in events if event.mark]
    for number, (event, second) in enumerate((event, second) for event, second in marked if second >= -5):
        for axis in (top, bottom):
            axis.axvline(second, color="black", linewidth=0.8, linestyle=":")
        bottom.annotate(
            event.mark,
            (second, 4 + 9 * (number % 7)),
            fontsize=8,
            xytext=(3, 0),
            textcoords="offset points",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
        )
    top.legend(title="version", loc="lower left")
    bottom.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
