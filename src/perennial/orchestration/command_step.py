"""Operator of a `perennial` command: an outage is waited for, what only a person can mend ends the task at once."""

from __future__ import annotations

from datetime import timedelta
from functools import cached_property
from typing import Any

from airflow.providers.standard.hooks.subprocess import SubprocessHook, SubprocessResult
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk.exceptions import AirflowFailException

from perennial import errors

PATIENCE: dict[str, Any] = {
    "retries": 6,
    "retry_delay": timedelta(seconds=5),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=2),
}
"""Arguments of tasks that outlive the restart of a server: the last try begins some five minutes after the first."""
LASTING = {
    error.exit_code: error.__name__
    for error in (
        errors.UsageError,
        errors.SpecError,
        errors.SettingsError,
        errors.PackageMissing,
        errors.MalformedInput,
        errors.ValidationFailed,
        errors.WrongTarget,
        errors.UnknownModel,
        errors.GateFailed,
        errors.OutOfUse,
    )
}
"""Exit codes of errors that only a person can mend."""


class CommandStep(BashOperator):
    """Task that runs a shell line, and does not try again what ended with the code of a lasting error."""

    @cached_property
    def subprocess_hook(self) -> SubprocessHook:
        return _StopsAtLasting()


class _StopsAtLasting(SubprocessHook):
    def run_command(self, *args: Any, **kwargs: Any) -> SubprocessResult:
        """Run it.

        Raises:
            AirflowFailException: it ended with the exit code of a lasting error.
        """
        result = super().run_command(*args, **kwargs)
        if result.exit_code in LASTING:
            raise AirflowFailException(
                f"exit code {result.exit_code}, {LASTING[result.exit_code]}: see the lines above; no retry mends it"
            )
        return result
