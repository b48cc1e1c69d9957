"""Operator of a `perennial` command: an outage is waited for, what only a person can mend ends the task at once."""

from __future__ import annotations

from datetime import timedelta
from functools import cached_property
from typing import Any

from airflow.providers.standard.hooks.subprocess import SubprocessHook, SubprocessResult
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from perennial import errors
from perennial.every_error import all_errors

PATIENCE: dict[str, Any] = {
    "retries": 6,
    "retry_delay": timedelta(seconds=5),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=2),
}
"""Arguments of tasks that outlive the restart of a server: the last try begins some five minutes after the first."""
NAMES = {error.exit_code: error.__name__ for error in all_errors() if error is not errors.PerennialError}
"""Names of our errors by exit code; code 1 is that of any crash."""
LASTING = (
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
"""Errors that only a person can mend."""


class CommandStep(BashOperator):
    """Task that runs a shell line, and does not try again what ended with the code of a lasting error."""

    @cached_property
    def subprocess_hook(self) -> SubprocessHook:
        return _NamesErrors()


class _NamesErrors(SubprocessHook):
    def run_command(self, *args: Any, **kwargs: Any) -> SubprocessResult:
        """Run it.

        Raises:
            AirflowException: it ended with the exit code of an error of ours; the message has its name and its last
                line, which says what to do. AirflowFailException, where a retry meets the same error.
        """
        result = super().run_command(*args, **kwargs)
        if name := NAMES.get(result.exit_code):
            lasting = result.exit_code in {error.exit_code for error in LASTING}
            kind = AirflowFailException if lasting else AirflowException
            raise kind(f"exit code {result.exit_code}, {name}: {result.output.strip()}")
        return result
