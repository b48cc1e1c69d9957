"""The generated files: those of the specs, accepted by the tools, and every alert fires when it should only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from alerting.cases import MODEL, OF, Case, cases
from alerting.programs import AMTOOL, PROMTOOL, run

from perennial import catalog
from perennial.adapters.alerting import dashboards
from perennial.adapters.alerting.generated import RULES, Plan, alerts, files
from perennial.adapters.alerting.recording import bound
from perennial.adapters.alerting.scraping import Addresses, SecretFiles, Timing
from perennial.cli import main
from perennial.core.alerting.burn_rates import BURN_RATES
from perennial.errors import GeneratedFilesDiffer, SpecError
from perennial.flows.monitoring import rule_files
from perennial.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
FILES = [DOCKER / "prometheus" / name for name in RULES]
ADDRESSES = Addresses("m:1", {}, "p:2", "a:3", "http://r:4/alerts")
ALERTS = [alert for group in alerts().values() for alert in group]


@pytest.fixture(autouse=True)
def shipped_specs(monkeypatch):
    monkeypatch.delenv("PERENNIAL_SPEC_OVERLAY", raising=False)


def test_the_shipped_files_are_those_of_the_shipped_specs(capsys):
    assert main(["monitor", "rules", "--check"]) == 0, capsys.readouterr().err


def test_a_changed_promise_changes_one_line(tmp_path, monkeypatch, capsys):
    main(["monitor", "rules", "--to", str(tmp_path / "before")])
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    (overlay / f"{MODEL}.yaml").write_text("monitoring: {every: PT5M}\n")
    monkeypatch.setenv("PERENNIAL_SPEC_OVERLAY", str(overlay))
    assert (
        main(["monitor", "rules", "--check", "--to", str(tmp_path / "before")])
        == GeneratedFilesDiffer.exit_code
    )
    assert "prometheus/rules/thresholds.yaml" in capsys.readouterr().err
    main(["monitor", "rules", "--to", str(tmp_path / "after")])
    changed = [
        lines
        for path in sorted((tmp_path / "before").rglob("*.*"))
        for lines in zip(
            path.read_text().splitlines(),
            (tmp_path / "after" / path.relative_to(tmp_path / "before")).read_text().splitlines(),
            strict=True,
        )
        if lines[0] != lines[1]
    ]
    assert changed == [("    expr: vector(900)", "    expr: vector(300)")]


def test_a_latency_that_envoy_does_not_count_by_is_refused():
    spec = catalog.spec(MODEL, Settings(spec_overlay=None))
    with pytest.raises(SpecError) as refused:
        bound(spec.model_copy(update={"slo": spec.slo.model_copy(update={"latency_ms": 260})}))
    assert "250 and 275" in refused.value.hint
    assert bound(spec) == "249.5"


def test_burn_rates_are_those_of_the_workbook():
    assert [round(burn.rate, 6) for burn in BURN_RATES] == [14.4, 6, 1]
    assert all(burn.short == burn.long / 12 for burn in BURN_RATES)


def test_the_tools_accept_the_files():
    assert f"{len(ALERTS)} rules found" in run(PROMTOOL, "check", "rules", *FILES)
    run(PROMTOOL, "check", "config", "--syntax-only", DOCKER / "prometheus" / "prometheus.yaml")
    assert "1 receivers" in run(AMTOOL, "check-config", DOCKER / "prometheus" / "alertmanager.yaml")


def test_each_alert_fires_when_it_should_and_not_else(tmp_path):
    assert {alert.name for alert in ALERTS} == {case.alert for case in cases() if case.count}
    assert {alert.name for alert in ALERTS} == {case.alert for case in cases() if not case.count}
    tests = {
        step: [_as_test(case) for case in cases() if case.step == step]
        for step in {case.step for case in cases()}
    }
    for step, of_step in tests.items():
        _promtool_test(tmp_path, of_step, step)


def _as_test(case: Case) -> dict:
    return {
        "name": f"{case.alert}: {case.why}",
        "interval": f"{case.step}m",
        "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
        "promql_expr_test": [
            {
                "expr": f"count(ALERTS{{{_matchers(case.alert, case.labels)}}})",
                "eval_time": f"{case.minutes}m",
                "exp_samples": [{"labels": "{}", "value": case.count}] if case.count else [],
            }
        ],
    }


def test_a_message_has_figures(tmp_path):
    series = {
        f"model_monitor_level{{{OF}}}": "3x5",
        f'model_drift_psi{{{OF},feature="LOC"}}': "0.9x5",
        f'model_drift_psi_allowance{{{OF},feature="LOC"}}': "0.25x5",
        f"model_monitor_window_predictions{{{OF}}}": "1500x5",
    }
    (alert,) = (alert for alert in ALERTS if alert.name == "ModelRetrain")
    expected = {
        "exp_labels": {"model_name": MODEL, "severity": "critical", "level": "retrain"},
        "exp_annotations": {
            "summary": f"{MODEL} drifted or lost accuracy as far as a retraining",
            "description": "PSI above the allowance: LOC +0.65; drop of the accuracy in percent: not known; "
            "1.5e+03 predictions in the window. The limits are `monitoring` of the spec.",
            "runbook_url": "docs/guide/runbooks.md#modelretrain",
        },
    }
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [{"eval_time": "2m", "alertname": alert.name, "exp_alerts": [expected]}],
    }
    _promtool_test(tmp_path, [test])


def _matchers(alert: str, labels: dict[str, str]) -> str:
    return ",".join(f'{k}="{v}"' for k, v in {"alertname": alert, "alertstate": "firing", **labels}.items())


def _promtool_test(folder: Path, tests: list[dict], step: int = 1) -> None:
    specs = [catalog.spec(name, Settings(spec_overlay=None)) for name in (MODEL, "test_failure_predictor")]
    every = f"{step}m"
    timing = Timing(every, every, windows=every)
    texts = files(Plan(specs, ADDRESSES, SecretFiles("internal", "alerts"), "docs/guide", timing))
    paths = [folder / name for name in RULES]
    rule_files.write({name: texts[f"prometheus/{name}"] for name in RULES}, folder)
    # By default the order is random, and a sample is stale at the next step of 10 minutes.
    order = [group["name"] for path in paths for group in yaml.safe_load(path.read_text())["groups"]]
    content = {
        "rule_files": list(map(str, paths)),
        "evaluation_interval": every,
        "group_eval_order": order,
        "tests": tests,
    }
    (folder / "tests.yaml").write_text(yaml.safe_dump(content))
    run(PROMTOOL, "test", "rules", folder / "tests.yaml")


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name + alert.labels.get("window", ""))
def test_each_alert_has_a_runbook_and_says_what_is_wrong(alert):
    rule = alert.rule("docs/guide")
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    text = (ROOT / page).read_text()
    (section,) = [part for part in text.split("\n## ")[1:] if part.partition("\n")[0].lower() == anchor]
    for heading in ("**Means**", "**Look at**", "**Do**"):
        assert heading in section, f"{alert.name}: {heading}"
    assert rule["annotations"]["summary"]
    assert "{{" in rule["annotations"]["description"] or alert.name in (
        "TargetDown",
        "PartUnhealthy",
        "ReleaseUnattended",
    )


def test_no_runbook_is_about_an_alert_that_is_not_there():
    headings = {
        part.partition("\n")[0] for part in (ROOT / "docs/guide/runbooks.md").read_text().split("\n## ")[1:]
    }
    assert headings == {alert.name for alert in ALERTS}


BOARDS = sorted((DOCKER / "grafana" / "dashboards").glob("*.json"))


def test_the_queries_of_the_dashboards_are_promql(tmp_path):
    expressions = [
        target["expr"].replace("$model", MODEL)
        for path in BOARDS
        for panel in json.loads(path.read_text())["panels"]
        for target in panel["targets"]
    ]
    assert len(expressions) > 20
    rules = [{"record": f"query:{number}", "expr": expr} for number, expr in enumerate(expressions)]
    (tmp_path / "queries.yaml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    run(PROMTOOL, "check", "rules", tmp_path / "queries.yaml")


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_a_dashboard_has_the_form_that_grafana_reads(path):
    board = json.loads(path.read_text())
    panels = board["panels"]
    assert board["uid"].startswith("perennial-")
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for grid in (panel["gridPos"] for panel in panels)
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]
    assert len(cells) == len(set(cells)), "panels overlap"
    assert max(x for x, _ in cells) < 24, "Grafana has 24 columns"
    for panel in panels:
        assert panel["type"] in {"timeseries", "stat", "bargauge"}
        assert panel["datasource"] == dashboards.SOURCE
        assert [target["refId"] for target in panel["targets"]] == [
            chr(65 + n) for n in range(len(panel["targets"]))
        ]
    sources = yaml.safe_load((DOCKER / "grafana/provisioning/datasources/perennial.yaml").read_text())
    assert {source["uid"] for source in sources["datasources"]} == {dashboards.SOURCE["uid"]}
    used = {
        name
        for panel in panels
        for target in panel["targets"]
        if "$model" in target["expr"]
        for name in ["model"]
    }
    assert used == {variable["name"] for variable in board["templating"]["list"]}
