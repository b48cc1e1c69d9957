"""Release DAG of each model spec: gate -> approval -> the steps of the strategy -> promotion.

It starts when a training offers a candidate. The tasks are phases of the release; each waits, deferred, while
its trigger moves the release forward. `perennial release ...` does the same without Airflow.
"""

from __future__ import annotations

from functools import partial

from airflow.sdk import DAG, Asset, Param

from perennial import catalog
from perennial.backend_settings import LIGHT
from perennial.core.assets import asset_uri, candidate_asset
from perennial.core.spec import ModelSpec
from perennial.orchestration.command_step import PATIENCE, CommandStep
from perennial.orchestration.parsed_models import parsed_models
from perennial.orchestration.release_phases import phase_tasks
from perennial.orchestration.release_steps import NOTE, ApprovalStep, ReleaseStep
from perennial.orchestration.training_turn import BEFORE_TRAININGS
from perennial.orchestration.trigger_provenance import offered_candidate, recorded_changes, release_of
from perennial.settings import load

SETTINGS = load()
RELEASE = "{{ release(run_id) }}"
"""From our ledger: whoever may start a DAG may rewrite the XComs of its tasks."""


def build(spec: ModelSpec) -> DAG:
    """Return the release DAG of a model."""
    name = candidate_asset(spec.name)
    offered = Asset(name=name, uri=asset_uri(name))
    with DAG(
        f"release_{spec.name}",
        description=f"Bring a candidate of {spec.name} to champion, or back",
        doc_md=__doc__,
        schedule=[offered],
        catchup=False,
        # A newer candidate supersedes a running release: its DAG run must be able to start.
        max_active_runs=2,
        # All state is in our database, so a task that Airflow lost simply runs again.
        # Its next step does not wait behind those of trainings, where they run in the same places.
        default_args={
            **PATIENCE,
            "queue": LIGHT,
            "priority_weight": BEFORE_TRAININGS,
            "weight_rule": "absolute",
        },
        params={"version": Param("candidate", type="string", title="Version or alias")},
        user_defined_macros={
            "candidate": partial(offered_candidate, train_dag=f"train_{spec.name}", changed=recorded_changes),
            "release": partial(release_of, model=spec.name),
        },
        tags=["perennial", "release", spec.owner],
    ) as dag:
        gate = CommandStep(
            task_id="gate",
            bash_command=f'perennial release start {spec.name} --version "$VERSION" --dag-run "$RUN"',
            env={
                "RUN": "{{ run_id }}",
                "VERSION": "{{ candidate(dag_run, params, triggering_asset_events)[0] }}",
                # The requester of the training, or of this run, may not approve its result.
                "PERENNIAL_ACTOR": "{{ candidate(dag_run, params, triggering_asset_events)[1] }}",
            },
            append_env=True,
            cwd=str(SETTINGS.project),
            do_xcom_push=False,
            doc_md="Measure the candidate, apply the spec's gate, and record the release of this run.",
        )
        previous = ApprovalStep(
            task_id="approval", release_id=RELEASE, approvers=SETTINGS.approvers, params=NOTE
        )
        gate >> previous
        for task_id, phase, step in phase_tasks(spec.release, servers=len(SETTINGS.ports("stable"))):
            current = ReleaseStep(task_id=task_id, release_id=RELEASE, phase=phase, step=step)
            previous >> current
            previous = current
    return dag


for model_spec in catalog.specs(SETTINGS, parsed_models(SETTINGS)):
    globals()[f"release_{model_spec.name}"] = build(model_spec)
