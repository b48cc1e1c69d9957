"""The forms of files that other tools read, from the schemas inside check-jsonschema."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from check_jsonschema.cli import main
from click.testing import CliRunner


def check_form(schema: str, paths: Sequence[Path]) -> None:
    """Assert that files have the form of a built-in schema."""
    done = CliRunner().invoke(main, ["--builtin-schema", schema, *map(str, paths)])
    assert done.exit_code == 0, done.output
