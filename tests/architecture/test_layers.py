"""Who may import whom: the contracts of pyproject.toml, and what they cannot say."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "src" / "perennial").rglob("*.py"))
TOOLS = {"torch", "mlflow", "airflow", "feast", "evidently", "great_expectations"}
MAY_IMPORT_TOOLS = {"adapters", "models", "serving", "orchestration", "tracking_server"}


def top_level_imports(path: Path) -> set[str]:
    """First parts of the names imported when the module is imported (not inside functions)."""
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.split(".")[0])
    return found


def test_import_contracts_hold():
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_tools_are_imported_in_their_rooms_only():
    wrong = {
        str(path.relative_to(ROOT)): sorted(TOOLS & top_level_imports(path))
        for path in SOURCES
        if path.relative_to(ROOT / "src" / "perennial").parts[0] not in MAY_IMPORT_TOOLS
        and TOOLS & top_level_imports(path)
    }
    assert not wrong


def test_dag_files_import_no_model_tool_at_top_level():
    for path in (ROOT / "dags").glob("*.py"):
        assert not (TOOLS - {"airflow"}) & top_level_imports(path), path.name


def test_no_room_without_a_name():
    banned = {"utils.py", "util.py", "common.py", "helpers.py", "helper.py", "manager.py", "misc.py"}
    assert not [path for path in SOURCES if path.name in banned]


def test_every_public_module_says_what_it_is_for():
    silent = [
        str(path.relative_to(ROOT))
        for path in SOURCES
        if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not silent


LONGEST, FULLEST = 300, 25


def test_no_source_file_is_too_long():
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in SOURCES}
    assert not {name: count for name, count in lines.items() if count > LONGEST}


@pytest.mark.parametrize("top", ["src", "tests"])
def test_no_folder_has_too_many_files(top):
    """Beside each other, without `__init__.py`."""
    modules = [path for path in (ROOT / top).rglob("*.py") if path.name != "__init__.py"]
    folders = Counter(str(path.parent.relative_to(ROOT)) for path in modules)
    assert not {name: count for name, count in folders.items() if count > FULLEST}


def test_every_folder_of_the_package_says_what_lives_there():
    folders = {path.parent for path in SOURCES}
    silent = [
        str(folder.relative_to(ROOT))
        for folder in folders
        if not (init := folder / "__init__.py").is_file()
        or not ast.get_docstring(ast.parse(init.read_text()))
    ]
    assert not silent


RIDDLE = re.compile(r"(Of|By what|Whoever|Whether|What|Who|From|With|On|In)\b")


def test_docstrings_begin_with_what_the_thing_does_or_is():
    """No fragment such as "Of the last window": verb and object, or a noun phrase."""
    riddles = [
        f"{path.relative_to(ROOT)}:{node.lineno} {text.splitlines()[0]}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and (text := ast.get_docstring(node))
        and RIDDLE.match(text)
    ]
    assert not riddles, "\n".join(riddles)
