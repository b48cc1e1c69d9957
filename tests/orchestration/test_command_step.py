"""Which ends of a command a task tries again."""

from __future__ import annotations

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from perennial.errors import StoreUnavailable, TrackerUnavailable, ValidationFailed
from perennial.orchestration.command_step import CommandStep


def execute(code: int) -> object:
    return CommandStep(task_id="step", bash_command=f"exit {code}").execute({})


def test_what_only_a_person_can_mend_is_not_tried_again():
    with pytest.raises(AirflowFailException, match="ValidationFailed"):
        execute(ValidationFailed.exit_code)


@pytest.mark.parametrize("code", [1, 137, TrackerUnavailable.exit_code, StoreUnavailable.exit_code])
def test_an_outage_or_a_crash_is(code):
    with pytest.raises(AirflowException) as raised:
        execute(code)
    assert not isinstance(raised.value, AirflowFailException)


def test_the_message_has_the_name_of_the_error_and_what_to_do():
    line = f"echo 'Error: MLflow is away'; echo '  -> start it'; exit {TrackerUnavailable.exit_code}"
    with pytest.raises(AirflowException, match="exit code 51, TrackerUnavailable: -> start it"):
        CommandStep(task_id="step", bash_command=line).execute({})


def test_a_command_that_succeeds_gives_its_last_line():
    assert CommandStep(task_id="step", bash_command="echo one; echo two").execute({}) == "two"
