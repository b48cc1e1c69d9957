"""Write picture and HTML page of an A/B analysis (Matplotlib). The page embeds its picture."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path

import numpy as np

from perennial.core.experiment.analysis import ExperimentAnalysis
from perennial.core.experiment.posterior import posterior

COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown")
STYLE = (
    "body{font-family:sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:0 0 1.5em}td,th{padding:.3em .8em;text-align:left}"
    "th{font-size:.85em;color:#555;border-bottom:2px solid #bbb}td{border-bottom:1px solid #eee}"
)


def picture(analysis: ExperimentAnalysis) -> bytes:
    """Return a PNG of the posterior of each variant, and of each difference from the control."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2)
    for colour, variant in zip(COLOURS, analysis.variants, strict=False):
        known = posterior(analysis.kind, variant)
        x = np.linspace(known.ppf(0.0005), known.ppf(0.9995), 400)
        left.plot(x, known.pdf(x), color=colour, label=f"{variant.name} (n = {variant.n})")
        left.fill_between(x, known.pdf(x), color=colour, alpha=0.15)
    left.set(
        title="Posterior of the mean of each variant",
        xlabel="mean outcome",
        yticks=[],
        ylabel="posterior density",
    )
    left.set_ylim(0, 1.25 * left.get_ylim()[1])  # the legend above the curves
    left.legend(fontsize=8, loc="upper center", ncols=min(3, len(analysis.variants)))
    for row, comparison in enumerate(analysis.comparisons):
        wide, now = comparison.sequential_interval, comparison.difference_interval
        right.plot([wide.low, wide.high], [row, row], color="grey", lw=2, label="valid at every look")
        right.plot([now.low, now.high], [row, row], color="tab:blue", lw=6, label="95 % credible now")
        right.plot(comparison.difference, row, "o", color="black")
    right.axvline(0.0, color="black", linestyle=":")
    right.set(
        title=f"Difference from {analysis.variants[0].name}",
        xlabel="difference of means",
        yticks=range(len(analysis.comparisons)),
        yticklabels=[
            f"{comparison.treatment}: {comparison.decision.value}" for comparison in analysis.comparisons
        ],
        ylim=(-1, len(analysis.comparisons)),
    )
    right.legend(*_unique(right), fontsize=8)
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def write_picture(analysis: ExperimentAnalysis, path: Path) -> None:
    """Write the picture as a PNG file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture(analysis))


def write_page(analysis: ExperimentAnalysis, title: str, tables: list[list[list[str]]], path: Path) -> None:
    """Write the HTML page.

    Args:
        tables: rows of cells; the first row of each table is its header.
    """
    image = base64.b64encode(picture(analysis)).decode()
    body = "".join(_table(rows) for rows in tables)
    name = html.escape(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
        f"<style>{STYLE}</style></head><body><h1>{name}</h1>{body}"
        f'<img alt="posteriors and differences" style="width:100%" src="data:image/png;base64,{image}">'
        "</body></html>\n"
    )


def _table(rows: list[list[str]]) -> str:
    header, *rest = ([html.escape(cell) for cell in row] for row in rows)
    lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rest)
    return "<table><tr>" + "".join(f"<th>{cell}</th>" for cell in header) + f"</tr>{lines}</table>"


def _unique(axes) -> tuple[list, list]:
    """Return handles and labels without repeated labels."""
    handles, labels = axes.get_legend_handles_labels()
    by_label = dict(zip(labels, handles, strict=True))
    return list(by_label.values()), list(by_label)
