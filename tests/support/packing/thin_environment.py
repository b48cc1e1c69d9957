"""A Python environment with the packages of a list and no others: links to those that are installed here."""

from __future__ import annotations

import re
import sys
import venv
import zipfile
from collections import defaultdict
from importlib.metadata import distributions
from pathlib import Path

from packaging.utils import canonicalize_name


def thin_environment(folder: Path, requirements: Path, wheel: Path) -> Path:
    """Make the environment and unpack a wheel in it; returns its Python.

    Args:
        requirements: lines `name==version`; each must be installed here in this version.
    """
    venv.EnvBuilder(symlinks=True, with_pip=False).create(folder)
    packages = folder / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    wanted = dict(line.split("==") for line in requirements.read_text().split())
    owners: dict[Path, set[str]] = defaultdict(set)
    roots: dict[tuple[str, Path], Path] = {}
    for package in distributions():
        name = canonicalize_name(package.metadata["Name"])
        for file in package.files or ():
            for place in (Path(file), *Path(file).parents):
                owners[place].add(name)
                roots[name, place] = Path(str(package.locate_file(place)))
        if name in wanted:
            assert package.version == wanted[name]
    for name, place in sorted(roots, key=lambda each: (len(each[1].parts), each)):
        link = packages / place
        if name not in wanted or ".." in place.parts or place == Path("."):
            continue
        if owners[place] == {name} and not link.parent.is_symlink() and not link.exists():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(roots[name, place])
    _unpack(wheel, packages, folder)
    return folder / "bin" / "python"


def _unpack(wheel: Path, packages: Path, environment: Path) -> None:
    """Unpack a wheel of plain Python: its modules, and its data beside them."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            data = re.fullmatch(r"[^/]+\.data/data/(.+)", name)
            target = environment / data[1] if data else packages / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(name))
