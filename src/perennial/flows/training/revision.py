"""The prepared revision of a work folder, checked against the files that it names."""

from __future__ import annotations

from pathlib import Path

from perennial import files
from perennial.core.spec import ModelSpec
from perennial.core.training.artifacts import Trained
from perennial.core.training.data import DataRevision
from perennial.errors import ValidationFailed
from perennial.flows.training.workdir import Workdir, read_record


def tracked_files(spec: ModelSpec, work: Workdir) -> dict[str, Path]:
    """Return the files of `work` that belong to a data revision, by their names in it."""
    views = {f"{spec.name}/views/{path.name}": path for path in sorted(work.views.glob("*.parquet"))}
    return {
        f"{spec.name}/source.json": work.source,
        f"{spec.name}/history.parquet": work.history,
        f"{spec.name}/examples.parquet": work.examples,
        **views,
    }


def read_revision(spec: ModelSpec, work: Workdir) -> DataRevision:
    """Return the prepared revision after a check that the files of `work` are the files of that revision.

    Raises:
        DatasetMissing: `prepare` has not run, or it did not end.
        ValidationFailed: a file is missing, was added or has other content than the revision says.
    """
    revision = read_record(work.revision, DataRevision, "prepare")
    present = {name: path for name, path in tracked_files(spec, work).items() if path.is_file()}
    names = sorted(revision.files.keys() | present.keys())
    wrong = [
        name
        for name in names
        if name not in revision.files
        or name not in present
        or files.md5(present[name]) != revision.files[name]
    ]
    if wrong:
        raise ValidationFailed(
            f"{work.folder}: not the files of the data revision {revision.revision[:12]}: {', '.join(wrong)}",
            hint=f"run `perennial prepare {spec.name}` again",
        )
    return revision


def read_trained(spec: ModelSpec, work: Workdir) -> Trained:
    """Return the last training after a check that its data are those of the prepared revision.

    Raises:
        DatasetMissing: `prepare` or `train` has not run.
        ValidationFailed: the files are not those of the revision, the training used another revision, or
            the table of its rows has changed.
    """
    trained = read_record(work.trained, Trained, "train")
    revision = read_revision(spec, work)
    hint = f"run `perennial train {spec.name}` again"
    if trained.revision != revision.revision:
        raise ValidationFailed(
            f"{work.folder}: trained on the data revision {trained.revision[:12]}, "
            f"prepared is {revision.revision[:12]}",
            hint=hint,
        )
    if not work.features.is_file() or files.sha256(work.features) != trained.rows:
        raise ValidationFailed(f"{work.features} is not the table of the last training", hint=hint)
    return trained
