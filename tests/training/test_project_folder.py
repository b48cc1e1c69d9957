"""A person's models live in a folder of their own, outside the checkout, and use the package as it is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from project_copy import git
from sklearn import datasets

from perennial.adapters.project_folder import make_project
from perennial.cli import main
from perennial.errors import SpecError, UsageError
from perennial.installation import SHIPPED
from perennial.local import airflow
from perennial.settings import Settings
from perennial.wiring import training

NAME = "wine"


class OwnProject:
    """A project with one model over a table, and the command lines that a person gives in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # The models of this project are others than those of a test process.
        self.env = {key: value for key, value in os.environ.items() if not key.startswith("PERENNIAL_")} | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
            "AIRFLOW_HOME": str(folder / ".perennial" / "airflow"),
            "AIRFLOW__CORE__UNIT_TEST_MODE": "true",
        }

    def run(self, *line: str, expected: int = 0) -> str:
        done = subprocess.run(
            line, cwd=self.folder.parent, env=self.env, capture_output=True, text=True, check=False
        )
        assert done.returncode == expected, f"{' '.join(line)}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}"
        return done.stdout + done.stderr


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> OwnProject:
    above = tmp_path_factory.mktemp("elsewhere")
    own = OwnProject(above / "Prüfstand für Wein")
    datasets.load_wine(as_frame=True).frame.to_csv(above / "wine.csv", index=False)
    shown = own.run(
        "perennial", "init", NAME, "--from", "wine.csv", "--target", "target", "--yes", "--project", str(own.folder)
    )  # fmt: skip
    assert (
        f"next: export PERENNIAL_PROJECT='{own.folder}'\nnext: perennial local setup\nnext: perennial run {NAME}\n"
    ) in shown
    own.env["PERENNIAL_PROJECT"] = str(own.folder)
    own.run("perennial", "local", "setup")
    return own


def test_the_models_are_those_of_the_project(project):
    listed = json.loads(project.run("perennial", "models", "list", "--json"))
    assert {row["model"] for row in listed} == {NAME}
    assert "data revision" in project.run("perennial", "prepare", NAME)


def test_the_checkout_stays_as_it_was(project):
    written = {path.name for path in (SHIPPED / "configs" / "models").iterdir()}
    assert f"{NAME}.yaml" not in written
    assert not (SHIPPED / "models" / f"{NAME}.py").exists()


def test_airflow_has_the_dags_of_its_models(project):
    script = (
        "import sys; from airflow.dag_processing.dagbag import DagBag; "
        "bag = DagBag(dag_folder=sys.argv[1], include_examples=False); "
        "assert not bag.import_errors, bag.import_errors; print('DAGS', *sorted(bag.dags))"
    )
    folder = airflow.dags_folder(Settings(project=project.folder))
    found = project.run(sys.executable, "-c", script, str(folder)).split("DAGS", 1)[1].split()
    kinds = ("train", "release", "monitor", "maintain", "batch")
    assert set(found) == {*(f"{kind}_{NAME}" for kind in kinds), "prune"}


def test_airflow_reads_dags_of_the_project_beside_those_of_the_package(tmp_path):
    settings = Settings(project=tmp_path)
    assert not airflow.own_dags(settings)
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "report.py").write_text("")
    assert airflow.own_dags(settings)
    assert airflow.dags_folder(settings) == SHIPPED / "dags"


def test_a_project_is_made_once_and_keeps_what_is_there(tmp_path):
    (tmp_path / ".gitignore").write_text("mine\n")
    made = make_project(tmp_path)
    assert tmp_path / "configs" / "sources.yaml" in made
    assert make_project(tmp_path) == []
    assert (tmp_path / ".gitignore").read_text() == "mine\n"
    assert git(tmp_path, "status", "--porcelain") == ""


def test_a_folder_that_is_no_project_gets_no_model_and_the_option_that_makes_it_one(
    tmp_path, monkeypatch, capsys
):
    rows = tmp_path / "rows.csv"
    rows.write_text("x,y\n1,2\n")
    monkeypatch.setenv("PERENNIAL_PROJECT", str(tmp_path / "mine"))
    assert main(["init", NAME, "--from", str(rows), "--target", "y", "--yes"]) == UsageError.exit_code
    assert f"--project {tmp_path / 'mine'}" in capsys.readouterr().err
    assert not (tmp_path / "mine").exists()


def test_a_folder_that_another_repository_ignores_gets_its_own(tmp_path):
    make_project(tmp_path)
    outer, inner = git(tmp_path, "rev-parse", "HEAD"), tmp_path / ".perennial" / "project"
    make_project(inner)
    assert Path(git(inner, "rev-parse", "--show-toplevel").strip()) == inner
    assert git(tmp_path, "rev-parse", "HEAD") == outer
    assert make_project(inner) == []


def test_a_module_of_the_same_name_elsewhere_is_refused(table_world):
    world = table_world("shadowed", datasets.load_wine(as_frame=True).frame)
    assert world.init("target") == 0
    training.model_class(world.spec)
    other = world.settings.project / "models" / "shadowed.py"
    sys.modules["models.shadowed"].__file__ = __file__
    with pytest.raises(SpecError, match=f"not {other}"):
        training.model_class(world.spec)
