"""The picture and the page of an A/B analysis (Matplotlib; the page holds its picture and needs no network)."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path

import numpy as np

from perennial.core.experiment.analysis import ExperimentAnalysis, posterior

COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown")
STYLE = (
    "body{font-family:sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:0 0 1.5em}td,th{padding:.3em .8em;text-align:left}"
    "th{font-size:.85em;color:#555;border-bottom:2px solid #bbb}td{border-bottom:1px solid #eee}"
)


def picture(found: ExperimentAnalysis) -> bytes:
    """PNG: the posterior of each arm, and each difference from the control with both intervals."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2)
    for colour, arm in zip(COLOURS, found.arms, strict=False):
        known = posterior(found.kind, arm)
        x = np.linspace(known.ppf(0.0005), known.ppf(0.9995), 400)
        left.plot(x, known.pdf(x), color=colour, label=f"{arm.name} (n = {arm.n})")
        left.fill_between(x, known.pdf(x), color=colour, alpha=0.15)
    left.set(
        title="What is known of each arm's mean", xlabel="mean outcome", yticks=[], ylabel="posterior density"
    )
    left.set_ylim(0, 1.25 * left.get_ylim()[1])  # the legend above the curves
    left.legend(fontsize=8, loc="upper center", ncols=min(3, len(found.arms)))
    for row, one in enumerate(found.comparisons):
        wide, now = one.sequential_interval, one.difference_interval
        right.plot([wide.low, wide.high], [row, row], color="grey", lw=2, label="valid at every look")
        right.plot([now.low, now.high], [row, row], color="tab:blue", lw=6, label="95 % credible now")
        right.plot(one.difference, row, "o", color="black")
    right.axvline(0.0, color="black", linestyle=":")
    right.set(
        title=f"Difference from {found.arms[0].name}",
        xlabel="difference of means",
        yticks=range(len(found.comparisons)),
        yticklabels=[f"{one.treatment}: {one.decision.value}" for one in found.comparisons],
        ylim=(-1, len(found.comparisons)),
    )
    right.legend(*_once(right), fontsize=8)
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def write_picture(found: ExperimentAnalysis, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture(found))


def write_page(found: ExperimentAnalysis, title: str, tables: list[list[list[str]]], path: Path) -> None:
    """Args: tables: each rows of cells, the first row its header."""
    image = base64.b64encode(picture(found)).decode()
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


def _once(axes) -> tuple[list, list]:
    """Handles and labels, each label once."""
    handles, labels = axes.get_legend_handles_labels()
    found = dict(zip(labels, handles, strict=True))
    return list(found.values()), list(found)
