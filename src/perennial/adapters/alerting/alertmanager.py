"""Alertmanager's configuration: a message per model, repeated rarely, to our receiver."""

from __future__ import annotations

from typing import Any

from perennial.adapters.alerting.model_alerts import LEVEL
from perennial.adapters.alerting.scraping import Addresses, SecretFiles, Timing
from perennial.core.monitoring.levels import Level

MOST_ALERTS = 50
"""Alerts in one message; the receiver refuses none for their number, but a body has its bound."""


def configuration(addresses: Addresses, secrets: SecretFiles, timing: Timing) -> dict[str, Any]:
    """Return the content of `alertmanager.yaml`."""
    receiver = "perennial"
    return {
        "route": {
            "receiver": receiver,
            "group_by": ["model_name"],
            "group_wait": timing.group_wait,
            "group_interval": timing.group_interval,
            "repeat_interval": timing.repeat,
            "routes": [{"matchers": ['severity="info"'], "repeat_interval": "24h"}],
        },
        "inhibit_rules": [
            # The graver level of a model silences the other.
            {
                "source_matchers": [f'{LEVEL}="{Level.RETRAIN.value}"'],
                "target_matchers": [f'{LEVEL}="{Level.WARN.value}"'],
                "equal": ["model_name"],
            },
            # The same budget burns fast and slowly.
            *(
                {
                    "source_matchers": [f'alertname="{kind}Burn"'],
                    "target_matchers": [f'alertname="{kind}BurnSlow"'],
                    "equal": ["model_name"],
                }
                for kind in ("ModelAvailability", "ModelLatency")
            ),
            # Without the monitor its figures stand still, and Envoy's do not come: one message says so.
            *(
                {"source_matchers": ['alertname="TargetDown"', 'job="monitor"'], "target_matchers": matchers}
                for matchers in (
                    ['alertname="ModelMonitorSilent"'],
                    ['alertname="TargetDown"', 'job=~"envoy|parts"'],
                )
            ),
        ],
        "receivers": [
            {
                "name": receiver,
                "webhook_configs": [
                    {
                        "url": addresses.receiver,
                        "max_alerts": MOST_ALERTS,
                        "send_resolved": True,
                        "http_config": {
                            "follow_redirects": False,
                            "authorization": {"credentials_file": secrets.alerts},
                        },
                    }
                ],
            }
        ],
    }
