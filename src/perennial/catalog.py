"""YAML -> frozen ModelSpec and check suites. The only reader of `configs/models` and `configs/expectations`."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from perennial.core.spec import ModelSpec
from perennial.core.training.expectations import Suite
from perennial.errors import SpecError, UnknownModel
from perennial.settings import Settings, load


def names(settings: Settings | None = None) -> list[str]:
    """Names of all models that have a spec, sorted."""
    folder = (settings or load()).configs / "models"
    return sorted(path.stem for path in folder.glob("*.yaml"))


def spec(name: str, settings: Settings | None = None) -> ModelSpec:
    """Read one spec, with the overlay of the settings laid over it.

    Raises:
        UnknownModel: there is no file for that name.
        SpecError: the file is not YAML, has an unknown key, or lacks or breaks a value.
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
    settings = settings or load()
    return [spec(name, settings) for name in names(settings)]


def parse(content: dict[str, Any], path: Path) -> ModelSpec:
    """Check the content of one file; the error names each key that is wrong."""
    try:
        parsed = ModelSpec.model_validate(content)
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise SpecError(
            f"{path} is not a model spec:\n" + "\n".join(lines), hint="see docs/guide/add-a-model.md"
        ) from error
    if parsed.name != path.stem:
        raise SpecError(f"{path}: name is {parsed.name!r}", hint=f"file and name must agree: {path.stem}")
    return parsed


def suite(path: Path) -> Suite:
    """Read one suite of data checks.

    Raises:
        SpecError: there is no such file, it is not YAML, or a key is unknown, missing or wrong.
    """
    if not path.is_file():
        raise SpecError(f"there is no suite {path}", hint="`data.expectations` of the spec names the files")
    try:
        return Suite.model_validate({"name": path.stem} | read_yaml(path))
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise SpecError(
            f"{path} is not a suite:\n" + "\n".join(lines), hint="see docs/guide/data.md"
        ) from error


def read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} is not YAML: {error}", hint="check indentation and quotes") from error
    if not isinstance(content, dict):
        raise SpecError(f"{path} holds no mapping", hint="start from a spec in configs/models")
    return content


def lay_over(base: dict[str, Any], overlay: dict[str, Any], where: str) -> dict[str, Any]:
    """Replace leaves of `base`; an overlay may change values, never invent keys."""
    merged = dict(base)
    for key, value in overlay.items():
        if key not in base:
            raise SpecError(f"{where}: {key!r} is not in the spec below it", hint="an overlay only replaces")
        if isinstance(value, dict) and isinstance(base[key], dict):
            merged[key] = lay_over(base[key], value, where)
        else:
            merged[key] = value
    return merged
