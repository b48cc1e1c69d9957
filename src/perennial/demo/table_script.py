"""Demo over a table: from a CSV file to a champion, drift, retraining and a second champion."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys

from perennial.adapters import project_folder
from perennial.demo import stage
from perennial.demo.clinic import SHIFTED_FROM, TARGET, TIME, Clinic
from perennial.demo.plan import DemoPlan
from perennial.demo.report import DemoResult
from perennial.errors import ToolError, UsageError
from perennial.files import write_text
from perennial.settings import Settings

MODEL, TABLE = "tumours", "tumours.csv"
MARK = ".demo-table"
"""File in a project folder that this demo has made, and may remove."""
LICENCE = "BSD-3-Clause"
"""Licence of scikit-learn, which ships the data; its text about them states none of their own."""
WINDOW = 200
"""Labelled predictions per point of the picture."""


def run(settings: Settings, rate: float, say: stage.Say) -> DemoResult:
    """Run the whole demo in a project folder of its own; the arguments are those of `stage.play`.

    Raises:
        UsageError: the project folder holds something that this demo has not made.
    """
    _refuse_other_project(settings)
    stage.clear(settings, say)
    shutil.rmtree(settings.project, ignore_errors=True)
    clinic = _make_project(settings, say)
    plan = DemoPlan(
        model=MODEL,
        label_source="clinic",
        data=TABLE,
        why="breast cancer data of scikit-learn; later cases are drawn from it with 1 % of noise",
        batches=clinic.batches(),
        finished=clinic.finish,
        shifted_from=SHIFTED_FROM,
        shift="from here on the clinic calls coarse tumours malignant too",
        window=WINDOW,
        patience=120.0,  # the new diagnoses are harm, and labels prove it
    )
    return stage.play(settings, rate, say, lambda: plan)


def _refuse_other_project(settings: Settings) -> None:
    project = settings.project
    if project.exists() and any(project.iterdir()) and not (project / MARK).exists():
        raise UsageError(
            f"the demo makes {project} anew, and this folder holds something else",
            hint="make demo-table, or PERENNIAL_PROJECT=a new folder perennial demo table",
        )


def _make_project(settings: Settings, say: stage.Say) -> Clinic:
    """Make the project with the table and what `perennial init` concludes from it, and commit it."""
    project = settings.project
    project.mkdir(parents=True)
    write_text(project / MARK, "This folder is made anew by each `perennial demo table`.\n")
    clinic = Clinic(project / TABLE)
    clinic.write()
    _init(settings, say)
    write_text(
        project / ".gitignore", f"{(project / '.gitignore').read_text(encoding='utf-8')}{MARK}\n{TABLE}\n"
    )
    project_folder.commit(project, (".gitignore", "configs", "models", "pipelines"), f"Model {MODEL}")
    return clinic


def _init(settings: Settings, say: stage.Say) -> None:
    """Run `perennial init` as a person does; it writes to the terminal."""
    line = ["init", MODEL, "--from", TABLE, "--target", TARGET, "--time", TIME]
    line += ["--template", "lightgbm", "--licence", LICENCE, "--project", ".", "--yes"]
    say(f"$ perennial {shlex.join(line)}")
    done = subprocess.run(
        [sys.executable, "-m", "perennial", *line],
        cwd=settings.project, env={**os.environ, "PERENNIAL_PROJECT": str(settings.project)}, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise ToolError(f"perennial init ended with {done.returncode}", hint="its message is above")
