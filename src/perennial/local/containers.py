"""One process of this installation in the foreground, as the command of a container.

Commands, ports and secret files are those of `perennial local up`; a container engine takes supervisord's place.
"""

from __future__ import annotations

import os
from typing import NoReturn

from perennial.errors import UsageError
from perennial.local import airflow, databases, handed_secrets, supervisor
from perennial.local.processes import table
from perennial.settings import Settings, load

UMASK = 0o077
"""Mask of the modes of files: what the processes write is for their owner only."""


def prepare(settings: Settings, say: supervisor.Say) -> None:
    """Make accounts, keys and the secrets of each process, and migrate Airflow's database; idempotent.

    Generated passwords are not said, because an engine keeps what a container prints.

    Raises:
        SettingsError: a setting cannot be used.
        SchedulerUnavailable: the migration failed.
    """
    os.umask(UMASK)
    databases.check(settings)
    supervisor.set_up(settings, lambda line: None)
    handed_secrets.write(settings)
    if settings.plane == "serving":
        say("the secrets of this serving machine's processes are handed to them")
        return
    say(f"accounts and their passwords are in {settings.accounts_file}")
    airflow.migrate(settings, handed_secrets.base_environment(settings))
    say("Airflow's database is migrated")


def become(name: str) -> NoReturn:
    """Replace this process by the one of that name, with the secrets that `prepare` has handed to it.

    Raises:
        UsageError: no process has this name with these settings.
    """
    os.environ.update(handed_secrets.handed(load(), name))
    settings = load()
    processes = {process.name: process for process in table(settings)}
    if name not in processes:
        raise UsageError(
            f"no process is named {name!r}",
            hint=f"one of {', '.join(processes)}; names of model servers have the ports of the settings, "
            "and the notifier needs PERENNIAL_NOTIFY",
        )
    process = processes[name]
    os.umask(UMASK)
    os.chdir(settings.project)
    environment = handed_secrets.base_environment(settings) | process.environment
    os.execve(process.command[0], process.command, environment)
