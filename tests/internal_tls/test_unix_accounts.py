"""Keys under Unix accounts: each process reads its own, root the others, and nobody the authority's."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from perennial.cli import main
from perennial.local.processes import CERTIFICATES, table
from perennial.settings import Settings

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root starts processes as others")


@pytest.fixture
def settings(monkeypatch) -> Iterator[Settings]:
    """Settings with a state folder that other accounts can reach, unlike pytest's."""
    folder = Path(tempfile.mkdtemp(prefix="perennial-unix-"))
    folder.chmod(0o711)
    values = {
        "project": folder, "home": folder / "state", "internal_tls": folder / "state" / "certificates",
        "unix_accounts": "mlflow=daemon,perennial=nobody", "database_url": "postgresql+psycopg://p@127.0.0.1:1/none",
    }  # fmt: skip
    for name, value in values.items():
        monkeypatch.setenv(f"PERENNIAL_{name.upper()}", str(value))
    (folder / "state").mkdir(mode=0o711)
    yield Settings(**values)
    shutil.rmtree(folder)


def read_by(account: str, folder: Path) -> set[str]:
    """The keys that an account can read."""
    keys = [str(path) for path in folder.rglob("*.key") if path.is_file()]
    script = 'for path in "$@"; do cat "$path" >/dev/null 2>&1 && echo "$path"; done; true'
    user = pwd.getpwnam(account)
    done = subprocess.run(
        ["sh", "-c", script, "sh", *keys], user=user.pw_uid, group=user.pw_gid, extra_groups=[], cwd="/",
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {Path(line).relative_to(folder).parts[0] for line in done.stdout.splitlines()}


def test_each_account_reads_the_keys_of_its_processes(settings):
    assert main(["certificates", "renew", "--database", "perennial"]) == 0
    folder = settings.internal_tls
    assert folder is not None
    assert read_by("daemon", folder) == {"mlflow"}
    assert read_by("nobody", folder) == {"envoy", "pool", "monitor", "airflow", "training", "agent"}
    assert read_by("root", folder) >= {"authority", "operator", "prometheus", "database-perennial"}
    assert main(["certificates", "renew"]) == 0
    assert read_by("daemon", folder) == {"mlflow"}


def test_root_alone_renews(settings):
    assert main(["certificates", "renew"]) == 0
    owners = {process.name: process.owner for process in table(settings)}
    assert owners[CERTIFICATES] is None
    assert all(owner is not None for name, owner in owners.items() if name != CERTIFICATES)
