"""Who may import whom: the contracts of pyproject.toml, and what they cannot say."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

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
