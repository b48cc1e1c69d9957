"""The demo goes on when Airflow is slow to answer, and says so when it does not answer at all."""

from __future__ import annotations

import httpx
import pytest

from perennial.demo import airflow_watch
from perennial.demo.airflow_watch import AirflowWatch
from perennial.errors import SchedulerUnavailable


def watch(answers, tmp_path) -> AirflowWatch:
    def handle(request: httpx.Request) -> httpx.Response:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(200, json=answer)

    made = AirflowWatch("http://airflow", "perennial", "password")
    made._client = httpx.Client(base_url="http://airflow", transport=httpx.MockTransport(handle))
    return made


def test_a_question_that_times_out_is_asked_again(tmp_path, monkeypatch):
    monkeypatch.setattr(airflow_watch.time, "sleep", lambda seconds: None)
    tasks = {"task_instances": [{"task_id": "train", "state": "success"}]}
    answers = [httpx.ReadTimeout("timed out"), httpx.ConnectError("refused"), tasks]
    assert watch(answers, tmp_path).tasks("train_m", "run") == {"train": "success"}


def test_no_answer_at_all_is_an_error_with_a_hint(tmp_path, monkeypatch):
    monkeypatch.setattr(airflow_watch, "PATIENCE", -1.0)
    with pytest.raises(SchedulerUnavailable, match="does not answer"):
        watch([httpx.ReadTimeout("timed out")], tmp_path).tasks("train_m", "run")
