"""`perennial evaluate --bounds`: the figures of the last evaluation beside the bounds of the gate."""

from __future__ import annotations

import json

from perennial.commands.output import print_json, print_table
from perennial.core.release.gate import judge_metric
from perennial.core.spec import ModelSpec
from perennial.core.verdict import Verdict
from perennial.errors import GateFailed, UsageError
from perennial.flows.training.workdir import Workdir


def show(spec: ModelSpec, work: Workdir, as_json: bool) -> None:
    """Print a judgement for each of `gate.metrics`.

    Raises:
        UsageError: nothing was evaluated in this work folder.
        GateFailed: a metric is missing, or proven to be out of its bound; names it.
    """
    if not work.metrics.is_file():
        raise UsageError(f"{work.metrics} is missing", hint=f"perennial evaluate {spec.name}")
    figures = json.loads(work.metrics.read_text())
    judgements = [judge_metric(figures, name, bound) for name, bound in spec.gate.metrics.items()]
    if as_json:
        print_json([judgement.model_dump(mode="json") for judgement in judgements])
    else:
        columns = ("rule", "verdict", "observed", "needed")
        print_table(
            columns, [[str(getattr(judgement, column)) for column in columns] for judgement in judgements]
        )
    lost = [judgement for judgement in judgements if judgement.verdict in (Verdict.FAIL, Verdict.ERROR)]
    if lost:
        raise GateFailed(
            "; ".join(f"{missed.rule} is {missed.observed}, needed {missed.needed}" for missed in lost),
            hint="the gate would refuse this version: change the model, its data or gate.metrics",
        )
