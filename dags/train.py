"""Training DAG of each model spec: prepare, validate, train, evaluate, register, offer for release.

It runs on the spec's schedule, when drift raises the retraining asset, and when a person triggers it (the form
asks for the reason). Each step is the `perennial` command that `dvc repro` runs, too; it can be killed and run
again.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, Asset, AssetOrTimeSchedule, CronTriggerTimetable, Param, task

from perennial import catalog
from perennial.backend_settings import LIGHT, TRAINING, TRAININGS
from perennial.core.assets import Reason, asset_uri, candidate_asset, retrain_asset
from perennial.core.spec import ModelSpec
from perennial.orchestration.command_step import PATIENCE, CommandStep
from perennial.orchestration.parsed_models import parsed_models
from perennial.orchestration.training_turn import TrainingTurn
from perennial.orchestration.trigger_provenance import (
    TriggerProvenance,
    folder,
    recorded_changes,
    recorded_request,
    training_provenance,
)
from perennial.settings import load

SETTINGS = load()
WORK = str(SETTINGS.state / "work")
# A fresh installation waits for the next scheduled time instead of making up for the last: no start date, and
# no time after it in which the run still counts as due (by default a tenth of the interval).
NEVER = timedelta(0)
STEPS = ("prepare", "validate", "train", "evaluate", "register")
if SETTINGS.training_socket is not None:  # another account trains: it does not publish what servers read
    STEPS = ("prepare", "validate", "publish", "train", "evaluate", "register")
QUEUES = {"prepare": SETTINGS.data_queue, "validate": SETTINGS.data_queue}
"""Steps that need what is on the machine of the plant: its data, and its online store."""
KEPT_IN = ' --kept-in "$KEPT"' if SETTINGS.work_store is not None else ""


def line(step: str, model: str) -> str:
    """Return the shell line of a step; the account that trains runs what it may, if there is one."""
    if step == "publish":
        return f'perennial features publish {model} --workdir "$WORK"'
    asking = "training ask " if SETTINGS.training_socket is not None and step != "register" else ""
    return f'perennial {asking}{step} {model} --workdir "$WORK"{KEPT_IN}'


@task(queue=LIGHT, pool="default_pool")
def why(model: str, params=None, dag_run=None, triggering_asset_events=None) -> dict[str, str]:
    """Show requester and reason to people; the steps look again, since the value of a task can be changed."""
    return asking(model)(dag_run, params, triggering_asset_events)._asdict()


def asking(model: str) -> Callable[..., TriggerProvenance]:
    """Return the function from run, params and triggering events to the provenance of the run."""
    return partial(training_provenance, recorded=partial(recorded_request, model), changed=recorded_changes)


def command(step: str, model: str) -> CommandStep:
    """Return the task of a `perennial` command; texts of people are in its environment, never in its shell line."""
    provenance = "asked(dag_run, params, triggering_asset_events)"
    return CommandStep(
        task_id=step,
        bash_command=line(step, model),
        env={
            "WORK": "{{ folder(run_id) }}",
            **({"KEPT": "{{ kept(run_id) }}"} if KEPT_IN else {}),
            "PERENNIAL_REASON": f"{{{{ {provenance}.reason }}}}",
            "PERENNIAL_REASON_TEXT": f"{{{{ {provenance}.text }}}}",
            "PERENNIAL_ACTOR": f"{{{{ {provenance}.who }}}}",
        },
        append_env=True,
        cwd=str(SETTINGS.project),
        do_xcom_push=False,
        queue=QUEUES.get(step, TRAINING),
        doc_md=f"`perennial {step} {model}`",
    )


def offer(model: str) -> task:
    """Return the task that raises the candidate event, which starts the release DAG."""
    name = candidate_asset(model)
    candidate = Asset(name=name, uri=asset_uri(name))

    @task(task_id="offer", outlets=[candidate])
    def raise_candidate(
        params=None, dag_run=None, triggering_asset_events=None, outlet_events=None
    ) -> dict[str, str]:
        import json
        from pathlib import Path

        provenance = asking(model)(dag_run, params, triggering_asset_events)
        if SETTINGS.work_store is None:
            registered = (Path(folder(WORK, model, dag_run.run_id)) / "registered.json").read_bytes()
        else:
            from perennial.flows.training.kept_work import read
            from perennial.object_storage import ObjectFolder

            registered = read(
                "registered.json", ObjectFolder(folder(SETTINGS.work_store, model, dag_run.run_id))
            )
        version = json.loads(registered)
        extra = {"version": version["version"], "digest": version["digest"]}
        outlet_events[candidate].extra = extra | {"reason": provenance.reason, "who": provenance.who}
        return extra

    return raise_candidate


def build(spec: ModelSpec) -> DAG:
    """Return the training DAG of a model."""
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
        # All but the first look into the work folder of the run, which is here or in object storage.
        default_args={
            **PATIENCE,
            "queue": TRAINING,
            "pool": TRAININGS,
            "priority_weight": spec.retraining.priority,
            "weight_rule": TrainingTurn(),
        },
        params={
            "reason": Param(
                Reason.PERSON.value, type="string", enum=[reason.value for reason in Reason], title="Reason"
            ),
            "text": Param("", type="string", title="Reason in your words"),
        },
        user_defined_macros={
            "asked": asking(spec.name),
            "folder": partial(folder, WORK, spec.name),
            "kept": partial(folder, SETTINGS.work_store, spec.name),
        },
        tags=["perennial", "train", spec.owner],
    ) as dag:
        previous = why(spec.name)
        for step in STEPS:
            current = command(step, spec.name)
            previous >> current
            previous = current
        previous >> offer(spec.name)()
    return dag


def broken(model: str, problem: str) -> DAG:
    """Return the DAG that stands where the training of a model would: it says why there is none."""
    with DAG(
        f"train_{model}",
        description=f"the spec of {model} is wrong: nothing trains",
        doc_md=f"```\n{problem}\n```",
        schedule=None,
        tags=["perennial", "wrong spec"],
    ) as dag:
        BashOperator(
            task_id="wrong_spec",
            bash_command=f"perennial prepare {model}",
            append_env=True,
            cwd=str(SETTINGS.project),
            queue=LIGHT,
        )
    return dag


SOUND, WRONG = catalog.read_all(SETTINGS, parsed_models(SETTINGS))
for model_spec in SOUND:
    if model_spec.entrypoint is None:  # its versions are imported
        continue
    globals()[f"train_{model_spec.name}"] = build(model_spec)
for name, error in WRONG.items():
    globals()[f"train_{name}"] = broken(name, error.message)
