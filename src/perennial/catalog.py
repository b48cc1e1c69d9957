"""Reading of model specs and check suites: the only reader of `configs/models` and `configs/expectations`."""

from __future__ import annotations

import difflib
import logging
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from perennial.core.spec import ModelSpec
from perennial.core.training.expectations import Suite
from perennial.errors import SpecError, UnknownModel
from perennial.settings import Settings, load

LOG = logging.getLogger(__name__)


def names(settings: Settings | None = None) -> list[str]:
    """Return the names of all models with a spec, sorted."""
    folder = (settings or load()).configs / "models"
    return sorted(path.stem for path in folder.glob("*.yaml"))


def spec(name: str, settings: Settings | None = None) -> ModelSpec:
    """Read a spec and apply the overlay of the settings.

    Raises:
        UnknownModel: there is no spec with this name.
        SpecError: the file is not YAML, or a key is unknown, missing or wrong.
    """
    settings = settings or load()
    path = settings.configs / "models" / f"{name}.yaml"
    if not path.is_file():
        known = names(settings)
        near = difflib.get_close_matches(name, known, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise UnknownModel(f"no model is named {name!r}", hint=f"{meant}known: {', '.join(known) or 'none'}")
    content = read_yaml(path)
    if settings.spec_overlay is not None:
        overlay = settings.project / settings.spec_overlay / f"{name}.yaml"
        if overlay.is_file():
            content = lay_over(content, read_yaml(overlay), where=str(overlay))
    return parse(content, path)


def specs(settings: Settings | None = None) -> list[ModelSpec]:
    """Read all specs; a wrong spec stops its own model only, and is reported as an error of the log."""
    sound, wrong = read_all(settings)
    for error in wrong.values():
        LOG.error("%s: %s", type(error).__name__, error.message)
    return sound


def read_all(settings: Settings | None = None) -> tuple[list[ModelSpec], dict[str, SpecError]]:
    """Return the sound specs, and the error of each wrong spec by the name of its model."""
    settings = settings or load()
    sound, wrong = [], {}
    for name in names(settings):
        try:
            sound.append(spec(name, settings))
        except SpecError as error:
            wrong[name] = error
    return sound, wrong


def parse(content: dict[str, Any], path: Path) -> ModelSpec:
    """Validate the content of a spec; the error names each wrong key."""
    try:
        parsed = ModelSpec.model_validate(content)
    except ValidationError as error:
        raise _invalid(f"{path} is not a model spec", error, guide="add-a-model") from error
    if parsed.name != path.stem:
        raise SpecError(f"{path}: name is {parsed.name!r}", hint=f"file and name must agree: {path.stem}")
    return parsed


def suite(path: Path) -> Suite:
    """Read a suite of data checks.

    Raises:
        SpecError: the file is missing or not YAML, or a key is unknown, missing or wrong.
    """
    if not path.is_file():
        raise SpecError(f"there is no suite {path}", hint="`data.expectations` of the spec names the files")
    return parse_suite(read_yaml(path), path)


def parse_suite(content: dict[str, Any], path: Path) -> Suite:
    """Validate the content of a suite; the error names each wrong key."""
    try:
        return Suite.model_validate({"name": path.stem} | content)
    except ValidationError as error:
        raise _invalid(f"{path} is not a suite", error, guide="data") from error


def _invalid(problem: str, error: ValidationError, guide: str) -> SpecError:
    lines = [f"  {'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors()]
    return SpecError("\n".join([f"{problem}:", *lines]), hint=f"see docs/guide/{guide}.md")


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping; raises SpecError when the file is something else."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} is not YAML: {error}", hint="check indentation and quotes") from error
    if not isinstance(content, dict):
        raise SpecError(f"{path} is not a mapping", hint="start from a spec in configs/models")
    return content


def lay_over(base: dict[str, Any], overlay: dict[str, Any], where: str) -> dict[str, Any]:
    """Return `base` with replaced values; an overlay must not add keys."""
    merged = dict(base)
    for key, value in overlay.items():
        if key not in base:
            raise SpecError(f"{where}: {key!r} is not in the spec", hint="an overlay can only replace values")
        if isinstance(value, dict) and isinstance(base[key], dict):
            merged[key] = lay_over(base[key], value, where)
        else:
            merged[key] = value
    return merged
