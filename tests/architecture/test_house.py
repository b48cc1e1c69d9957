"""The house stays one where a newcomer finds things: small files, small folders, a word in each on what lives there."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "perennial"
LINES = 300
FILES = 25


def modules(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*.py") if "__pycache__" not in path.parts]


def folders(root: Path) -> list[Path]:
    return sorted({path.parent for path in modules(root)})


def test_no_source_file_is_long():
    long = {str(path.relative_to(ROOT)): count for path in modules(SOURCE)
            if (count := len(path.read_text().splitlines())) > LINES}  # fmt: skip
    assert not long, f"over {LINES} lines: make two rooms of one"


@pytest.mark.parametrize("root", ["src", "tests", "dags", "benchmarks"])
def test_no_folder_holds_many_files_side_by_side(root):
    wide = {str(folder): len(list(folder.glob("*.py"))) for folder in folders(ROOT / root)}
    assert not {folder: count for folder, count in wide.items() if count > FILES}


def test_each_folder_says_what_lives_there():
    silent = [str(folder.relative_to(ROOT)) for folder in folders(SOURCE)
              if not ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))]  # fmt: skip
    assert not silent
