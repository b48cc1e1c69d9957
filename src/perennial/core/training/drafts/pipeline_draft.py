"""The DVC pipeline of a new model over rows: its training steps as stages of a local experiment."""

from __future__ import annotations

from string import Template

PIPELINE = Template("""\
# A training of $name as a local experiment: the commands that Airflow runs, without any effect on serving.
#   dvc repro pipelines/$name/dvc.yaml
#   dvc exp run -S configs/models/$name.yaml:tuning.trials=3 pipelines/$name/dvc.yaml
stages:
  prepare:
    wdir: ../..
    cmd: perennial prepare $name --workdir "data/$name"
$rows    params:
      - configs/models/$name.yaml: [data, features, target, task]
    outs:
      - data/$name/history.parquet
      - data/$name/examples.parquet
      - data/$name/source.json
      - data/$name/revision.json

  validate:
    wdir: ../..
    cmd: perennial validate $name --workdir "data/$name" --no-publish
    deps:
      - data/$name/history.parquet
      - data/$name/examples.parquet
      - data/$name/revision.json
      - configs/expectations/$name.yaml
    outs:
      - data/$name/validation.json
      - data/$name/data_docs

  train:
    wdir: ../..
    cmd: perennial train $name --workdir "data/$name" --reason experiment
    deps:
      - data/$name/examples.parquet
      - data/$name/source.json
      - data/$name/revision.json
      - data/$name/validation.json
      - configs/models/$name.yaml
      - models/$name.py
    outs:
      - data/$name/features.parquet
      - data/$name/model
      - data/$name/train.json

  evaluate:
    wdir: ../..
    cmd: perennial evaluate $name --workdir "data/$name"
    deps:
      - data/$name/features.parquet
      - data/$name/model
      - data/$name/train.json
    outs:
      - data/$name/evaluation.json
    metrics:
      - data/$name/metrics.json: {cache: false}
    plots:
      - data/$name/plots
""")


def pipeline_text(name: str, path: str | None) -> str:
    """Return the YAML of the pipeline.

    Args:
        path: file or folder of the rows on this machine; None for others, which each run reads again.
    """
    quoted = (path or "").replace("'", "''")
    rows = f"    deps:\n      - '{quoted}'\n" if path else "    always_changed: true\n"
    return PIPELINE.substitute(name=name, rows=rows)
