"""One training DAG per model spec: prepare, validate, train, evaluate, register, offer for release.

Runs weekly, when drift raises the retraining asset, and when a person triggers it (the form asks why).
Every step is a `perennial` command, the same that `dvc repro` runs; each can be killed and run again.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, Asset, AssetOrTimeSchedule, CronTriggerTimetable, Param, task

from perennial import catalog
from perennial.core.assets import asset_uri, candidate_asset, retrain_asset
from perennial.core.spec import ModelSpec, Reason
from perennial.settings import load

SETTINGS = load()
# A fresh installation waits for its next turn instead of making up for the last one: no start date, and no
# time after a turn in which it counts as still to be taken (by default a tenth of the interval).
NEVER = timedelta(0)
STEPS = ("prepare", "validate", "train", "evaluate", "register")


@task
def why(model: str, work: str, params=None, dag_run=None, triggering_asset_events=None) -> dict[str, str]:
    """Who asked for this training and why; also names the work folder of this run."""
    import hashlib

    folder = f"{work}/{model}/{hashlib.sha256(dag_run.run_id.encode()).hexdigest()[:16]}"
    events = [event for group in (triggering_asset_events or {}).values() for event in group]
    if events:
        extra = events[-1].extra or {}
        return {
            "workdir": folder,
            "reason": extra.get("reason", Reason.DRIFT.value),
            "text": str(extra.get("text", "")),
            "who": str(extra.get("who") or "airflow"),
        }
    if str(dag_run.run_type).endswith("scheduled"):
        reason = Reason.SCHEDULE.value
        return {"workdir": folder, "reason": reason, "text": "the weekly training", "who": "schedule"}
    who = dag_run.triggering_user_name or "airflow"
    return {"workdir": folder, "reason": params["reason"], "text": params["text"], "who": who}


def command(step: str, model: str) -> BashOperator:
    """One `perennial` command; free text travels in the environment, never in the shell line."""
    return BashOperator(
        task_id=step,
        bash_command=f"perennial {step} {model} --workdir \"{{{{ ti.xcom_pull(task_ids='why')['workdir'] }}}}\"",
        env={
            "PERENNIAL_REASON": "{{ ti.xcom_pull(task_ids='why')['reason'] }}",
            "PERENNIAL_REASON_TEXT": "{{ ti.xcom_pull(task_ids='why')['text'] }}",
            "PERENNIAL_ACTOR": "{{ ti.xcom_pull(task_ids='why')['who'] }}",
        },
        append_env=True,
        cwd=str(SETTINGS.project),
        do_xcom_push=False,
        doc_md=f"`perennial {step} {model}`",
    )


def offer(model: str) -> task:
    """Raise the candidate event, which starts the release DAG."""
    name = candidate_asset(model)
    candidate = Asset(name=name, uri=asset_uri(name))

    @task(task_id="offer", outlets=[candidate])
    def raise_candidate(told: dict[str, str], outlet_events=None) -> dict[str, str]:
        import json
        from pathlib import Path

        version = json.loads((Path(told["workdir"]) / "registered.json").read_text())
        extra = {key: version[key] for key in ("version", "digest")} | {
            key: told[key] for key in ("reason", "who")
        }
        outlet_events[candidate].extra = extra
        return extra

    return raise_candidate


def build(spec: ModelSpec) -> DAG:
    name = retrain_asset(spec.name)
    retrain = Asset(name=name, uri=asset_uri(name))
    with DAG(
        f"train_{spec.name}",
        description=f"Train {spec.name} and offer the result for release",
        doc_md=__doc__,
        schedule=AssetOrTimeSchedule(
            timetable=CronTriggerTimetable(spec.retraining.schedule, timezone="UTC", run_immediately=NEVER),
            assets=[retrain],
        ),
        catchup=False,
        max_active_runs=1,
        default_args={"retries": 2, "retry_delay": timedelta(seconds=5)},
        params={
            "reason": Param(
                Reason.PERSON.value, type="string", enum=[reason.value for reason in Reason], title="Reason"
            ),
            "text": Param("", type="string", title="In your words"),
        },
        tags=["perennial", "train", spec.owner],
    ) as dag:
        told = why(spec.name, str(SETTINGS.state / "work"))
        previous = told
        for step in STEPS:
            current = command(step, spec.name)
            previous >> current
            previous = current
        previous >> offer(spec.name)(told)
    return dag


for one in catalog.specs(SETTINGS):
    globals()[f"train_{one.name}"] = build(one)
