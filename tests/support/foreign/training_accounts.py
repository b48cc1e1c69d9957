"""A runner of training steps as a Unix account of its own, and whoever asks it, for tests that root runs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from serving_stack import until

from perennial.installation import SHIPPED
from perennial.local import handed_secrets, supervisor, training_runner, unix_accounts
from perennial.local.processes import table
from perennial.settings import Settings

ACCOUNTS = "mlflow=daemon,perennial=nobody,training=games"
SERVER = "postgresql+psycopg://perennial@127.0.0.1:1/none"
RUN = "0123456789abcdef"
MODEL = "diabetes_progression"
# An interpreter in a home that only its owner may enter is shown to the accounts in a mount namespace of the process.
AS_ACCOUNT = """
base=$1; private=$2; account=$3; mask=$4; shift 4
if test -n "$private"; then
    mount --bind "$base" /mnt && mount -t tmpfs -o mode=755 none "$private" && mkdir -p "$base" &&
    mount --move /mnt "$base" || exit 99
fi
umask "$mask"
exec setpriv --reuid "$account" --regid "$(id -g "$account")" --clear-groups "$@"
"""
PRIVATE = [str(one) for one in Path(sys.base_prefix).parents if not one.stat().st_mode & 0o001]
MODULE = """
import os, subprocess, time
from pathlib import Path
from perennial.datasets.bundled import diabetes


def slow(files):
    child = subprocess.Popen(["sleep", "600"])
    (Path(os.environ["PERENNIAL_HOME"]) / "work" / "pids").write_text(f"{os.getpid()} {child.pid}")
    time.sleep(600)


def probing(files):
    print(f"uid {os.getuid()} groups {os.getgroups()}", flush=True)
    for path in (Path(os.environ["PERENNIAL_PROJECT"]) / "paths").read_text().split():
        for mode in ("r", "a"):
            try:
                target = Path(path)
                open(target / "new" if target.is_dir() and mode == "a" else target, mode) if not (
                    target.is_dir() and mode == "r") else os.listdir(target)
            except OSError:
                continue
            print({"r": "reads", "a": "writes"}[mode], path, flush=True)
    print("\\x1b[2Jdone", flush=True)
    subprocess.Popen(["sh", "-c", "while sleep 0.001; do echo endless; done"], start_new_session=True)
    return diabetes(files)
"""


def as_account(name: str, umask: str, *command: str) -> list[str]:
    """The command line that runs a command as an account; root gives it."""
    given = (sys.base_prefix, *(PRIVATE[-1:] or [""]), name, umask)
    return ["unshare", "--mount", "sh", "-c", AS_ACCOUNT, "sh", *given, *command]


class Runner:
    """A runner as the account that trains, and whoever asks it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        supervisor.set_up(settings, lambda line: None)
        handed_secrets.write(settings)
        unix_accounts.own(settings)
        self.processes = {process.name: process for process in table(settings)}
        self.environment = handed_secrets.base_environment(settings) | {
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(settings.project / "home"),
        }
        process = self.processes["training"]
        assert process.owner is not None
        self.process = subprocess.Popen(
            as_account(process.owner.name, process.owner.umask, *process.command),
            env=self.environment | process.environment, cwd=settings.project,
        )  # fmt: skip
        until(lambda: training_runner.listens(settings), 30, "the runner")

    def asking(self, step: str, model: str, workdir: Path, account: str = "nobody") -> subprocess.Popen[str]:
        line = (sys.executable, "-m", "perennial", "training", "ask", step, model, "--workdir", str(workdir))
        # As a task of the scheduler; without its files of secrets, which whoever else asks cannot read.
        environment = {
            k: v for k, v in self.processes["airflow-scheduler"].environment.items() if "_FILE" not in k
        }
        return subprocess.Popen(
            as_account(account, "027", *line), env=self.environment | environment, cwd=self.settings.project,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def ask(
        self, step: str, model: str, workdir: Path | None = None, account: str = "nobody"
    ) -> tuple[int, str]:
        process = self.asking(step, model, workdir or self.work(model), account)
        output, _ = process.communicate(timeout=60)
        return process.returncode, output

    def work(self, model: str) -> Path:
        return self.settings.state / "work" / model / RUN


def project(folder: Path) -> None:
    """Make a project folder with models whose data come from functions of its own."""
    shutil.copytree(SHIPPED / "configs", folder / "configs", ignore=shutil.ignore_patterns("models"))
    spec = (SHIPPED / "configs" / "models" / f"{MODEL}.yaml").read_text()
    (folder / "configs" / "models").mkdir()
    for name, read in {
        MODEL: "perennial.datasets.bundled:diabetes", "slow": "models.foreign:slow", "probe": "models.foreign:probing",
        "wrong": "models.foreign:missing",
    }.items():  # fmt: skip
        named = spec.replace(f"name: {MODEL}", f"name: {name}")
        named = named.replace("read: perennial.datasets.bundled:diabetes", f"read: {read}")
        (folder / "configs" / "models" / f"{name}.yaml").write_text(named)
    (folder / "home").mkdir()
    (folder / "home").chmod(0o1777)
    (folder / "models").mkdir()
    (folder / "models" / "foreign.py").write_text(MODULE)
