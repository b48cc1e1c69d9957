"""Alerts about the plant: processes, loaded versions, releases, logs, and the alerting itself."""

from __future__ import annotations

from perennial.adapters.alerting.alert import Alert, Severity


def plant() -> list[Alert]:
    """Return the alerts that are about no model's answers."""
    return [
        Alert(
            "TargetDown", 'up{job!="prometheus"} == 0', Severity.CRITICAL,
            "{{ $labels.job }} at {{ $labels.instance }} does not answer",
            "Prometheus could not read its figures for 2 minutes, so that alerts about it are blind.",
            lasting="2m",
        ),
        Alert(
            "PartUnhealthy", "perennial_part_healthy == 0", Severity.WARNING,
            "{{ $labels.part }} is not healthy",
            "The monitor asked it, and it does not answer or says so itself, for 5 minutes.",
            lasting="5m",
        ),
        Alert(
            "ModelNotLoaded", "perennial_model_loaded == 0", Severity.WARNING,
            "{{ $labels.instance }} has not loaded {{ $labels.model_name }} {{ $labels.version }}",
            "A pinned version of pool {{ $labels.pool }} is not in memory for 5 minutes: digest {{ $labels.digest }}.",
            lasting="5m",
        ),
        Alert(
            "ModelStandIn",
            "sum by (model_name, version, stands_in) (increase(perennial_stand_ins_total[5m])) > 0",
            Severity.WARNING,
            "{{ $labels.model_name }} {{ $labels.version }} is answered by {{ $labels.stands_in }}",
            '{{ $value | printf "%.0f" }} requests of the last 5 minutes were not answered by the routed version.',
            lasting="1m",
        ),
        Alert(
            "ReleaseUnattended", "perennial_release_unattended == 1", Severity.WARNING,
            "nobody walks the release {{ $labels.release }} of {{ $labels.model_name }}",
            "Airflow made no pass for 5 minutes; the failover watch walks it now.",
        ),
        Alert(
            "FeedbackUnusable",
            "sum by (source, reason) (increase(perennial_feedback_unusable_total[1h])) > 0",
            Severity.INFO, "labels of {{ $labels.source }} are not used: {{ $labels.reason }}",
            '{{ $value | printf "%.0f" }} in the last hour; they are kept in serving/feedback/aside.',
        ),
        Alert(
            "LogLinesBroken", "sum by (log) (increase(perennial_broken_lines_total[1h])) > 0", Severity.WARNING,
            "broken lines in the log of {{ $labels.log }}",
            '{{ $value | printf "%.0f" }} in the last hour; they were skipped and are kept aside.',
        ),
        Alert(
            "AlertsUndelivered",
            "sum by (integration) (increase(alertmanager_notifications_failed_total[10m])) > 0 or "
            "label_replace(increase(prometheus_notifications_dropped_total[10m]) > 0, "
            '"integration", "alertmanager", "", "")',
            Severity.CRITICAL, "alerts do not reach {{ $labels.integration }}",
            '{{ $value | printf "%.0f" }} messages failed in the last 10 minutes; others may have been lost.',
        ),
    ]  # fmt: skip
