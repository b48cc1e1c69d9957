"""The wheel of this package, made of the files of a checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from perennial.errors import PackageMissing, ToolError, UsageError
from perennial.installation import HERE, IS_CHECKOUT

BUILD = "import sys, setuptools.build_meta; setuptools.build_meta.build_wheel(sys.argv[1])"


def build_wheel(into: Path) -> Path:
    """Build the wheel with the setuptools of this environment and return its path.

    A copy is built, because setuptools writes into the folder that it builds.

    Args:
        into: existing folder.

    Raises:
        UsageError: this is no checkout. PackageMissing: there is no setuptools. ToolError: setuptools failed.
    """
    if not IS_CHECKOUT:
        raise UsageError(
            "this package is installed, and its wheel can only be made of a checkout",
            hint="give the wheel that was installed: --wheel FILE",
        )
    copy = into / "source"
    shutil.copytree(HERE / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    project = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = ["pyproject.toml", "LICENSE", project["project"]["readme"]]
    for files in project["tool"]["setuptools"]["data-files"].values():
        patterns += files
    for path in (path for pattern in patterns for path in HERE.glob(pattern)):
        target = copy / path.relative_to(HERE)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    command = [sys.executable, "-c", BUILD, str(into)]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    if done.returncode:
        if "No module named 'setuptools'" in done.stderr:
            raise PackageMissing("setuptools is not installed", hint="run `make setup`")
        raise ToolError(f"the wheel cannot be built: {done.stderr.strip()[-500:]}", hint="see `make setup`")
    shutil.rmtree(copy)
    (wheel,) = into.glob("perennial-*.whl")
    return wheel
