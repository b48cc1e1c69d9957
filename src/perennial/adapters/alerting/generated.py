"""The generated files by path: Prometheus, Alertmanager, Grafana. The same specs and addresses give the same bytes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from perennial.adapters.alerting import (
    alertmanager,
    dashboards,
    model_alerts,
    plant_alerts,
    recording,
    scraping,
)
from perennial.adapters.alerting.alert import Alert
from perennial.adapters.alerting.scraping import Addresses, SecretFiles, Timing
from perennial.core.spec import ModelSpec

RULES = ("rules/thresholds.yaml", "rules/windows.yaml", "rules/alerts.yaml")
"""Files of rules beside `prometheus.yaml`; only the first depends on the specs."""
HEADER = "# Made by `perennial monitor rules` from the model specs. Change those, and make it again.\n"


class _Dumper(yaml.SafeDumper):
    """Writes each value out where it is used."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


@dataclass(frozen=True)
class Plan:
    """Sources of the files; `guide` is the address of the guide in links to runbooks."""

    specs: Sequence[ModelSpec]
    addresses: Addresses
    secrets: SecretFiles
    guide: str
    timing: Timing = field(default_factory=Timing)


def alerts() -> dict[str, list[Alert]]:
    """Return every alert by group. Alerts about the monitor's figures are evaluated as often as it is read."""
    return {
        "model_levels": [*model_alerts.levels(), *model_alerts.looks()],
        "model_objectives": [*model_alerts.burns(), *model_alerts.freshness()],
        "plant": plant_alerts.plant(),
    }


def files(plan: Plan) -> dict[str, str]:
    """Return the text of each file by its path below the folder of the container files.

    Raises:
        SpecError: a spec promises a latency that Envoy does not count by.
    """
    specs = sorted(plan.specs, key=lambda spec: spec.name)
    thresholds, windows, rules = RULES
    content: dict[str, Any] = {
        "prometheus/prometheus.yaml": scraping.configuration(
            specs, plan.addresses, plan.secrets, plan.timing, RULES
        ),
        f"prometheus/{thresholds}": {"groups": [recording.thresholds(specs, plan.timing.windows)]},
        f"prometheus/{windows}": {"groups": [recording.windows(plan.timing.windows)]},
        f"prometheus/{rules}": {"groups": _groups(plan)},
        "prometheus/alertmanager.yaml": alertmanager.configuration(plan.addresses, plan.secrets, plan.timing),
        **{f"grafana/{path}": body for path, body in dashboards.provisioning(plan.addresses.prometheus).items()},
    }  # fmt: skip
    texts = {path: HEADER + _yaml(body) for path, body in content.items()}
    for name, body in (("plant", dashboards.plant()), ("model", dashboards.model())):
        texts[f"grafana/dashboards/{name}.json"] = json.dumps(body, indent=1) + "\n"
    return texts


def _yaml(body: Any) -> str:
    return yaml.dump(body, Dumper=_Dumper, sort_keys=False, width=1000)


def _groups(plan: Plan) -> list[dict[str, Any]]:
    intervals = {"model_levels": plan.timing.monitor}
    return [
        {
            "name": name,
            "interval": intervals.get(name, plan.timing.others),
            "rules": [alert.rule(plan.guide) for alert in group],
        }
        for name, group in alerts().items()
    ]
