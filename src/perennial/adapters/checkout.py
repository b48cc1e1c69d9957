"""Commit and file hashes of a project folder and of the package beside it, for the capsule."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

from perennial import __version__, catalog
from perennial.core.spec import ModelSpec
from perennial.core.training.capsule import Provenance
from perennial.core.training.templates import TEMPLATES
from perennial.errors import SettingsError, SpecError

ON = " on "
"""Between the commit of a project and the package that it is trained with."""
MODEL_CODE = ("perennial.models.", "models.")
"""Modules with the code of models: those of the package, and those of a project."""


def provenance_of(project: Path, package: Path, spec: ModelSpec) -> Provenance:
    """Return the commit of the project and the hashes of files that change a training.

    Args:
        package: folder of the pins that a project without its own uses.

    Raises:
        SettingsError: the project is no git checkout, or a file is missing.
    """
    used = catalog.used_views(spec, project)
    views = [
        catalog.feature_view(path).meaning.encode() if path.suffix == ".yaml" else _read(path)
        for path in used
    ]
    inputs = {name: given.model_dump(mode="json") for name, given in spec.features.inputs.items()}
    columns = json.dumps([*spec.features.columns, *inputs.items()]).encode()
    pins = project / "constraints.txt"
    return Provenance(
        code=code_of(project, package, spec.name),
        features=hashlib.sha256(b"\n".join([*views, columns])).hexdigest(),
        constraints=hashlib.sha256(_read(pins if pins.exists() else package / pins.name)).hexdigest(),
        model_code=_code_hash(spec),
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
    of_model = [f"configs/models/{model}.yaml", f"models/{model}.py"]
    return ["src", "feature_repo", "configs/features", "constraints.txt", *of_model]


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


def _code_hash(spec: ModelSpec) -> str:
    """Return the SHA-256 of the model's module and of the model modules that it imports, however far.

    Imports are read, not run: those of a model load its libraries.
    """
    first = spec.trainable().partition(":")[0]
    named = TEMPLATES if spec.tuning.templates == "auto" else spec.tuning.templates
    waiting = [first, *(TEMPLATES[name].address.partition(":")[0] for name in named)]
    hashes: dict[str, str] = {}
    while waiting:
        name = waiting.pop()
        if name in hashes:
            continue
        if (file := _module_file(name)) is None:
            if name == first:
                raise SpecError(f"{spec.name}: no module {first}", hint="entrypoint is module:Class")
            continue  # a name imported from a module, or a folder
        content = _read(file)
        hashes[name] = hashlib.sha256(content).hexdigest()
        waiting += [name for name in _imported(content) if name.startswith(MODEL_CODE)]
    return hashlib.sha256(json.dumps(sorted(hashes.items())).encode()).hexdigest()


def _imported(source: bytes) -> Iterator[str]:
    """Yield the modules that a source names in absolute imports, and what it imports from them."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _module_file(module: str) -> Path | None:
    try:
        module_spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return None
    return None if module_spec is None or module_spec.origin is None else Path(module_spec.origin)
