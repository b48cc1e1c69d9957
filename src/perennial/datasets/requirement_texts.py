"""Made-up requirements of software with their kind: functional, quality or constraint.

They are generated, so that a text goes the whole way without a download. Nothing that is measured on them holds for
requirements that people wrote. All kinds share their first words and their objects; a part has a typing error, and a
part is labelled at random, as people disagree.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

SEED, ROWS = 30, 2400
TYPING_ERRORS, DISAGREEMENT = 0.15, 0.06
WHO = (
    "The system", "The portal", "The service", "The mobile app", "Each server", "The back office",
    "The reporting module", "The checkout", "The admin console", "The import job",
)  # fmt: skip
DUTY = ("shall", "must", "should", "has to", "is expected to", "will")
THING = (
    "invoices", "orders", "customer records", "search results", "audit entries", "payments", "delivery slots",
    "reports", "passwords", "notifications", "uploaded files", "time sheets", "sensor readings",
    "contracts", "price lists",
)  # fmt: skip
DEED = {
    "functional": (
        "let a user export {thing} as a spreadsheet", "send an e-mail when {thing} change",
        "show {thing} of the last month",
        "allow an editor to correct {thing}", "sort {thing} by date", "merge duplicate {thing}", "print {thing}",
        "calculate totals over {thing}", "ask for approval before {thing} are deleted", "keep drafts of {thing}",
    ),
    "quality": (
        "show {thing} within {number} seconds", "stay available {number} hours a day while {thing} are processed",
        "recover {thing} within {number} minutes of a crash", "handle {number} requests for {thing} at the same time",
        "lose no more than {number} of a million {thing}", "be usable with a screen reader for {thing}",
        "protect {thing} against guessing", "let a new clerk find {thing} after {number} minutes of training",
        "use less than {number} megabytes for {thing}", "answer questions about {thing} without delay",
    ),
    "constraint": (
        "store {thing} in the company's existing database", "keep {thing} for {number} years, as the law requires",
        "run on the operating system of the plant when it reads {thing}",
        "exchange {thing} in the format of the standard",
        "be delivered before the old tool for {thing} is switched off",
        "process {thing} in data centres of the union only",
        "reuse the supplier's library for {thing}", "cost no more than {number} euros a month for {thing}",
        "be written in the language of the team that maintains {thing}", "show {thing} in the colours of the brand",
    ),
}  # fmt: skip
KINDS = tuple(DEED)


def read(files: Mapping[str, Path]) -> pd.DataFrame:
    """Return a row per requirement: `text` and `kind`; always the same rows.

    Args:
        files: none.
    """
    random = np.random.default_rng(SEED)
    rows = [_requirement(random) for _ in range(ROWS)]
    return pd.DataFrame(rows, columns=["text", "kind"])


def _requirement(random: np.random.Generator) -> tuple[str, str]:
    kind = str(random.choice(KINDS))
    deed = str(random.choice(DEED[kind])).format(thing=random.choice(THING), number=random.integers(2, 100))
    text = f"{random.choice(WHO)} {random.choice(DUTY)} {deed}."
    if random.random() < TYPING_ERRORS:
        place = int(random.integers(1, len(text) - 2))
        text = text[:place] + text[place + 1] + text[place] + text[place + 2 :]
    return text, str(random.choice(KINDS)) if random.random() < DISAGREEMENT else kind
