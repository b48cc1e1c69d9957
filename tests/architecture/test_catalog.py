"""A wrong spec is refused with the key that is wrong; nothing is guessed."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from perennial import catalog
from perennial.cli import main
from perennial.core.data_spec import TableSpec
from perennial.core.monitoring_spec import check_cron
from perennial.errors import SettingsError, SpecError, UnknownModel
from perennial.settings import Settings, load
from perennial.wiring.training import model_class

ROOT = Path(__file__).resolve().parents[2]
NAME = "test_failure_predictor"


@pytest.fixture
def project(tmp_path):
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    return Settings(project=tmp_path)


def change(project: Settings, edit) -> None:
    path = project.configs / "models" / f"{NAME}.yaml"
    content = yaml.safe_load(path.read_text())
    edit(content)
    path.write_text(yaml.safe_dump(content))


def test_every_spec_of_the_project_is_read():
    assert [spec.name for spec in catalog.specs(Settings(project=ROOT))] == catalog.names(
        Settings(project=ROOT)
    )


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (lambda c: c["monitoring"].update(psii=1), "monitoring.psii: Extra inputs"),
        (lambda c: c["gate"].pop("latency_p95_ms"), "gate.latency_p95_ms: Field required"),
        (lambda c: c["monitoring"]["psi"].update(watch=0.9), "monitoring.psi: Value error, watch < warn"),
        (lambda c: c["release"]["steps"].append({"weight": 1, "duration": "PT1H"}), "steps must rise"),
        (lambda c: c["release"]["steps"].append({"weight": 100, "duration": "PT1H"}), "leave it out"),
        (lambda c: c.update(name="other"), "file and name must agree"),
        (lambda c: c["gate"]["metrics"].update(roc_auc={}), "give min, max or both"),
        (lambda c: c.update(training={"workers": 0}), "training.workers: Input should be greater than 0"),
        (
            lambda c: (c.update(training={"workers": 2}), c["tuning"].update(templates="auto")),
            "training.workers: of tuning.templates one may win",
        ),
    ],
)
def test_wrong_spec_names_the_key(project, edit, named):
    change(project, edit)
    with pytest.raises(SpecError) as caught:
        catalog.spec(NAME, project)
    assert named in caught.value.message + caught.value.hint


def test_broken_yaml_names_the_file(project):
    path = project.configs / "models" / f"{NAME}.yaml"
    path.write_text("name: [unclosed")
    with pytest.raises(SpecError, match=NAME):
        catalog.spec(NAME, project)


def test_unknown_model_suggests_a_known_one(project):
    with pytest.raises(UnknownModel) as caught:
        catalog.spec("test_failure_predicter", project)
    assert "did you mean test_failure_predictor?" in caught.value.hint


def test_overlay_replaces_values_and_invents_none(project, tmp_path):
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    (overlay / f"{NAME}.yaml").write_text("tuning: {trials: 3}\n")
    over = Settings(project=tmp_path, spec_overlay=overlay)
    assert catalog.spec(NAME, over).tuning.trials == 3
    assert catalog.spec(NAME, over).tuning.epochs == catalog.spec(NAME, project).tuning.epochs
    (overlay / f"{NAME}.yaml").write_text("monitoring: {label_delay: PT30S}\n")  # the spec leaves it out
    assert catalog.spec(NAME, over).monitoring.label_delay == timedelta(seconds=30)
    (overlay / f"{NAME}.yaml").write_text("tuning: {trails: 3}\n")
    with pytest.raises(SpecError, match=rf"(?s)under {overlay}.*trails"):
        catalog.spec(NAME, over)


def test_digest_follows_the_content(project):
    before = catalog.spec(NAME, project).digest
    change(project, lambda content: content["tuning"].update(seed=8))
    assert catalog.spec(NAME, project).digest != before


def test_new_keys_leave_the_digest_of_older_specs():
    """Releases name a spec by its digest; this content is of a spec without the newest keys."""
    before = {
        "kind": "table", "name": "t", "path": "t.csv", "missing": ["", "NA"], "key": None, "time": "at",
        "period": "P1D", "group": None, "split": "time", "rolling": None, "seed": 7, "leakage_accepted": [],
        "leaking": {}, "copies": 0.01,
    }  # fmt: skip
    assert TableSpec.model_validate(before).model_dump(mode="json") == before
    newer = before | {"unlabelled": "drop", "csv": {"encoding": "latin-1", "decimal": ",", "thousands": None}}
    assert TableSpec.model_validate(newer).model_dump(mode="json") == newer


def test_wrong_setting_is_named(monkeypatch):
    monkeypatch.setenv("PERENNIAL_PORT_ENVOY", "lots")
    with pytest.raises(SettingsError, match="PERENNIAL_PORT_ENVOY"):
        load()
    assert main(["models", "list"]) == SettingsError.exit_code


def test_wrong_spec_has_its_own_exit_code(project, monkeypatch, capsys):
    change(project, lambda content: content.update(nonsense=1))
    monkeypatch.setenv("PERENNIAL_PROJECT", str(project.project))
    assert main(["models", "show", NAME]) == SpecError.exit_code
    assert "nonsense" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0 3 * * 1", "*/15 0-6,22 1-15/2 jan-mar MON"])
def test_cron_expression_is_kept(text):
    assert check_cron(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "every monday",
        "",
        "@daily x",
        "60 * * * *",
        "* * 0 * *",
        "5-1 * * * *",
        "*/0 * * * *",
        "1-2-3 * * * *",
    ],
)
def test_wrong_cron_expression_is_a_spec_error(project, tmp_path, text):
    (tmp_path / "overlay").mkdir()
    (tmp_path / f"overlay/{NAME}.yaml").write_text(f'retraining: {{schedule: "{text}"}}\n')
    with pytest.raises(SpecError, match="schedule"):
        catalog.spec(NAME, Settings(project=tmp_path, spec_overlay=tmp_path / "overlay"))


def test_a_wrong_spec_stops_only_its_own_model(project, caplog, monkeypatch, capsys):
    (project.configs / "models" / "other.yaml").write_text("name: other\n")
    assert [spec.name for spec in catalog.specs(project)] == catalog.names(Settings(project=ROOT))
    assert "other.yaml is not a model spec" in caplog.text
    with pytest.raises(SpecError, match="other"):
        catalog.spec("other", project)
    monkeypatch.setenv("PERENNIAL_PROJECT", str(project.project))
    assert main(["models", "list", "--json"]) == SpecError.exit_code
    shown = capsys.readouterr()
    assert NAME in shown.out
    assert "other.yaml is not a model spec" in shown.err


def test_data_without_a_check_is_refused(project):
    change(project, lambda c: c["data"].update(expectations={}))
    with pytest.raises(SpecError, match=r"data\.expectations: Dictionary should have at least 1 item"):
        catalog.spec(NAME, project)


TABLE = {
    "kind": "table", "name": "t", "path": "t.csv", "missing": [""], "key": None, "time": None,
    "period": None, "group": None, "split": "random", "seed": 7, "leakage_accepted": [],
}  # fmt: skip


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ({"time": "sold_at"}, "split: random mixes past and future, and time names 'sold_at'"),
        ({"split": "time"}, "split: time needs a column in `time`"),
        ({"split": "group"}, "split: group needs a column in `group`"),
        ({"kind": "mail"}, "data.source: Input tag 'mail'"),
        ({"kind": "sql"}, "data.source.sql.connection: Field required"),
        ({"split": "rolling", "time": "sold_at"}, "split: rolling needs `rolling: {origins, window}`"),
    ],
)
def test_a_split_that_does_not_fit_is_refused(project, source, named):
    change(project, lambda c: c["data"].update(source=TABLE | source))
    with pytest.raises(SpecError) as caught:
        catalog.spec(NAME, project)
    assert named in caught.value.message


def test_workers_are_refused_where_nothing_is_trained_by_gradients(project):
    change(project, lambda c: c.update(training={"workers": 2}))
    spec = catalog.spec(NAME, project)
    assert model_class(spec).distributed
    forest = spec.model_copy(update={"entrypoint": "perennial.models.templates.forest:Forest"})
    with pytest.raises(SpecError, match=r"training\.workers is 2, and perennial\.models\.templates\.forest"):
        model_class(forest)


def test_more_workers_than_gpus_are_refused(project, monkeypatch):
    monkeypatch.setenv("PERENNIAL_DEVICE", "cuda")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    change(project, lambda c: c.update(training={"workers": 2}))
    with pytest.raises(SpecError, match=r"training\.workers is 2, and PyTorch sees 1 GPUs here"):
        model_class(catalog.spec(NAME, project))


def test_one_worker_leaves_the_digest_of_a_spec(project):
    before = catalog.spec(NAME, project).digest
    change(project, lambda c: c.update(training={"workers": 1}))
    assert catalog.spec(NAME, project).digest == before
