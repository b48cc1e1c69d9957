"""The IOF/ROL data set: CI test executions of ABB Robotics Norway.

Origin: H. Spieker, A. Gotlieb, D. Marijan, M. Mossige, "Reinforcement Learning for Automatic Test Case
Prioritization and Selection in Continuous Integration", ISSTA 2017, doi 10.1145/3092703.3092709.
A `;` CSV with the columns Id, Name, Duration, CalcPrio, LastRun, LastResults, Verdict, Cycle.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pandas as pd

from perennial.errors import MalformedInput
from perennial.history import schema

HEADER = ("Id", "Name", "Duration", "CalcPrio", "LastRun", "LastResults", "Verdict", "Cycle")
SUITE = "ci"


def read(path: Path, now: datetime | None = None) -> pd.DataFrame:
    """Read the file into the schema.

    `LastRun` is the start of this run, without a zone, and is taken as UTC. `Duration` is in milliseconds.
    `LastResults` is left out on purpose: it has earlier runs of the same cycle, which are not known before
    the cycle starts.

    Args:
        now: no test starts after it; None: not checked.

    Raises:
        MalformedInput: the header differs, or a line has a wrong number of fields or a wrong value.
    """
    try:
        raw = pd.read_csv(path, sep=";", dtype=str, keep_default_na=False, encoding="utf-8")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise MalformedInput(f"{path} is not a `;` CSV: {error}", hint="fetch the file again") from error
    if tuple(raw.columns) != HEADER:
        raise MalformedInput(
            f"{path}: the header is {';'.join(map(str, raw.columns))}", hint=f"expected {';'.join(HEADER)}"
        )
    return schema.conform(
        pd.DataFrame(
            {
                "execution_id": "iofrol:" + raw["Id"],
                "suite": SUITE,
                "test_id": raw["Name"],
                "cycle": raw["Cycle"],
                "started_at": raw["LastRun"],
                "duration_ms": raw["Duration"],
                "verdict": raw["Verdict"],
                "area": "",
            }
        ),
        str(path),
        now,
    )
