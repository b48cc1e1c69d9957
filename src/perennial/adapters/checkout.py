"""Commit and file hashes of a project folder and of the package beside it, for the capsule."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
from pathlib import Path

from perennial import __version__
from perennial.core.spec import ModelSpec
from perennial.core.training.capsule import Provenance
from perennial.errors import SettingsError, SpecError

ON = " on "
"""Between the commit of a project and the package that it is trained with."""


def provenance_of(project: Path, package: Path, spec: ModelSpec) -> Provenance:
    """Return the commit of the project and the hashes of files that change a training.

    Args:
        package: folder of feature definitions and pins that a project without its own uses.

    Raises:
        SettingsError: the project is no git checkout, or a file is missing.
    """

    def own_or_shipped(name: str) -> bytes:
        return _read(project / name if (project / name).exists() else package / name)

    inputs = {name: given.model_dump(mode="json") for name, given in spec.features.inputs.items()}
    columns = json.dumps([*spec.features.columns, *inputs.items()]).encode()
    return Provenance(
        code=code_of(project, package, spec.name),
        features=hashlib.sha256(own_or_shipped("feature_repo/definitions.py") + columns).hexdigest(),
        constraints=hashlib.sha256(own_or_shipped("constraints.txt")).hexdigest(),
        model_code=hashlib.sha256(_read(_module_file(spec))).hexdigest(),
    )


def commit(project: Path) -> str:
    """Return the commit, with `+dirty` if tracked files have changed."""
    head = _git(project, "rev-parse", "HEAD")
    changed = _git(project, "status", "--porcelain", "--untracked-files=no")
    return f"{head}+dirty" if changed else head


def code_of(project: Path, package: Path, model: str) -> str:
    """Return the commit of the project, and where the package is not part of it, the package's version too."""
    head = commit(project)
    new = _git(project, "ls-files", "--others", "--exclude-standard", "--", *_depends(model))
    head = f"{head}+dirty" if new and not head.endswith("+dirty") else head
    return head if project == package else f"{head}{ON}{_installed(package)}"


def _installed(package: Path) -> str:
    text = f"perennial {__version__}"
    return f"{text} {commit(package)}" if (package / ".git").exists() else text


def changed_since(project: Path, package: Path, since: str, model: str) -> list[str] | None:
    """List files that a training of a model depends on and that differ from a commit.

    Args:
        since: as `code_of` returned it.

    Returns:
        Paths relative to the project, sorted, and the package if that was another; None when the project lacks
        the commit.
    """
    head, _, installed = since.partition(ON)
    base = head.removesuffix("+dirty")
    known = subprocess.run(
        ["git", "-C", str(project), "cat-file", "-e", f"{base}^{{commit}}"], capture_output=True, timeout=60
    )
    if known.returncode != 0:
        return None
    changed = sorted(_git(project, "diff", "--name-only", base, "--", *_depends(model)).splitlines())
    if installed and installed != _installed(package):
        changed.append(f"the package itself ({installed}, now {_installed(package)})")
    return changed


def _depends(model: str) -> list[str]:
    return ["src", "feature_repo", "constraints.txt", f"configs/models/{model}.yaml", f"models/{model}.py"]


def _git(project: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(project), *arguments], capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise SettingsError(
            f"git {' '.join(arguments)} failed in {project}: {getattr(error, 'stderr', '') or error}",
            hint="train from a git checkout with a commit: every model names its code",
        ) from error
    return done.stdout.strip()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error}", hint="restore it from git") from error


def _module_file(spec: ModelSpec) -> Path:
    module = spec.entrypoint.partition(":")[0]
    module_spec = importlib.util.find_spec(module)
    if module_spec is None or module_spec.origin is None:
        raise SpecError(f"{spec.name}: no module {module}", hint="entrypoint is module:Class")
    return Path(module_spec.origin)
