"""What a checkout is made of: commit and file hashes, for the capsule."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
from pathlib import Path

from perennial.core.spec import ModelSpec
from perennial.core.training.capsule import Provenance
from perennial.errors import SettingsError, SpecError


def provenance_of(project: Path, spec: ModelSpec) -> Provenance:
    """Commit of the project and hashes of the files that change what a training does.

    Raises:
        SettingsError: the project is no git checkout, or one of the files is missing.
    """
    definitions = project / "feature_repo" / "definitions.py"
    features = hashlib.sha256(_read(definitions))
    features.update(json.dumps(list(spec.features.columns)).encode())
    return Provenance(
        code=commit(project),
        features=features.hexdigest(),
        constraints=hashlib.sha256(_read(project / "constraints.txt")).hexdigest(),
        model_code=hashlib.sha256(_read(_module_file(spec))).hexdigest(),
    )


def commit(project: Path) -> str:
    """The commit, with `+dirty` if tracked files were changed."""
    head = _git(project, "rev-parse", "HEAD")
    changed = _git(project, "status", "--porcelain", "--untracked-files=no")
    return f"{head}+dirty" if changed else head


def changed_since(project: Path, since: str, model: str) -> list[str] | None:
    """Files that a training of a model depends on and that differ from those of a commit.

    Returns:
        Paths below the project, sorted; None when the checkout does not have the commit.
    """
    base = since.removesuffix("+dirty")
    known = subprocess.run(
        ["git", "-C", str(project), "cat-file", "-e", f"{base}^{{commit}}"], capture_output=True, timeout=60
    )
    if known.returncode != 0:
        return None
    depends = ["src", "feature_repo", "constraints.txt", f"configs/models/{model}.yaml"]
    return sorted(_git(project, "diff", "--name-only", base, "--", *depends).splitlines())


def _git(project: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(project), *arguments], capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise SettingsError(
            f"git {' '.join(arguments)} failed in {project}: {getattr(error, 'stderr', '') or error}",
            hint="train from a git checkout with at least one commit: every model names its code",
        ) from error
    return done.stdout.strip()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error}", hint="restore it from git") from error


def _module_file(spec: ModelSpec) -> Path:
    module = spec.entrypoint.partition(":")[0]
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        raise SpecError(f"{spec.name}: no module {module}", hint="entrypoint is module:Class")
    return Path(found.origin)
