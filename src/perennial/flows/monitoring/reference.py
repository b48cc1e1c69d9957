"""Reference rows of a version, kept here after the first look."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from perennial.core.monitoring.drift import DECISION, SCORE
from perennial.core.release.traffic import Target
from perennial.core.spec import ModelSpec
from perennial.core.version import VersionRef
from perennial.errors import MalformedInput, UnknownVersion
from perennial.files import replacing
from perennial.flows.training.package import RIGHT
from perennial.ports import Registry

if TYPE_CHECKING:
    import pandas as pd

REFERENCE = "reference.parquet"


def reference_rows(spec: ModelSpec, registry: Registry, target: Target, cache: Path) -> pd.DataFrame:
    """Return the holdout rows on which the champion was evaluated, with its scores."""
    import pandas as pd

    path = cache / f"{target.digest}.parquet"
    if not path.is_file():
        record = registry.find(spec.name, target.version)
        if record is None or record.ref.digest != target.digest:
            raise UnknownVersion(
                f"the route of {spec.name} names {target.version} ({target.digest[:12]}), "
                "which is not in the registry",
                hint=f"perennial models show {spec.name}",
            )
        _keep_reference(registry, record.ref, path)
    return pd.read_parquet(path)


def right_on_reference(spec: ModelSpec, reference: pd.DataFrame) -> np.ndarray:
    """Return how right each answer to a reference row was under the task of the spec, float [n] in [0, 1].

    Where an interval in the answer tells what is right, the rows say it.
    """
    if spec.task.answer_tells_right and RIGHT in reference:
        return reference[RIGHT].to_numpy(dtype=float)
    score = reference[SCORE].to_numpy()
    label = spec.task.targets(reference[spec.target.column].to_numpy(), spec.target.column)
    # The reference of a version from before kinds of task, a ranking, has no decisions.
    decision = reference[DECISION] if DECISION in reference else spec.task.decisions(score)
    return spec.task.right(score, np.asarray(decision), label)


def _keep_reference(registry: Registry, ref: VersionRef, path: Path) -> None:
    """Write the reference into the cache atomically: another process may read it meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as aside:
        fetched = registry.fetch(ref, Path(aside) / "files") / REFERENCE
        if not fetched.is_file():
            raise MalformedInput(f"{ref} has no {REFERENCE}", hint="train and release it again")
        with replacing(path) as temporary:
            shutil.copyfile(fetched, temporary)
