"""The folder of a person's own models, beside the installed package: git repository, DVC settings, empty configs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from perennial.errors import UsageError
from perennial.files import write_text

FILES = {
    ".gitignore": "# State of this machine, and what local experiments make; dvc.lock stays visible, DVC asks for it.\n"
    ".perennial/\n/data/\n__pycache__/\n.env\n",
    ".dvcignore": ".perennial\n.venv\n",
    ".dvc/.gitignore": "/config.local\n/tmp\n/cache\n",
    ".dvc/config": "[core]\n    analytics = false\n    check_update = false\n",
    "configs/sources.yaml": "# Licence and consent of each source of data: your statement, which the gate reads.\n",
    "configs/models/.gitkeep": "",
    "models/.gitkeep": "",
}
"""File -> first content."""
IDENTITY = ("-c", "user.name=Perennial", "-c", "user.email=perennial@localhost", "-c", "commit.gpgsign=false")


def make_project(folder: Path) -> list[Path]:
    """Make what a project lacks, and commit it where the folder is in no git repository yet.

    A training names the commit of its project, so the first commit is made at the start. Later commits are yours. A
    folder that the repository around it ignores, such as one in a state folder, gets a repository of its own.

    Returns:
        The new files; none for a project that is complete.

    Raises:
        UsageError: the folder cannot be made, or git is missing.
    """
    new = [folder / name for name in FILES if not (folder / name).exists()]
    try:
        for path in new:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, FILES[str(path.relative_to(folder))])
        in_none = not _git(folder, "rev-parse", "--verify", "--quiet", "HEAD")
        if in_none or _git(folder, "check-ignore", "--quiet", "."):
            _git(folder, "init", "--quiet")
            _git(folder, "add", "--", *FILES)
            _git(folder, *IDENTITY, "commit", "--quiet", "--message", "New project", "--", *FILES)
    except (OSError, subprocess.CalledProcessError) as error:
        text = getattr(error, "stderr", "") or error
        raise UsageError(
            f"{folder} cannot become a project: {text}", hint="a folder that you may write, and git"
        ) from error
    return new


def commit(folder: Path, paths: tuple[str, ...], message: str) -> None:
    """Commit files or folders of a project.

    Raises:
        UsageError: git refuses.
    """
    try:
        _git(folder, "add", "--", *paths)
        _git(folder, *IDENTITY, "commit", "--quiet", "--message", message, "--", *paths)
    except (OSError, subprocess.CalledProcessError) as error:
        text = getattr(error, "stderr", "") or error
        raise UsageError(f"{folder} cannot be committed: {text}", hint="see git status there") from error


def _git(folder: Path, *arguments: str) -> bool:
    """Return whether git succeeds; a question may fail, another command raises."""
    # In a git hook these variables point at another repository.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    asked = arguments[0] in ("rev-parse", "check-ignore")
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=clean, capture_output=True, text=True, check=not asked
    )
    return done.returncode == 0
