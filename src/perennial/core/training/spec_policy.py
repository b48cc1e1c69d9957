"""The part of the spec of a new model that does not depend on its data, as YAML with gaps."""

from __future__ import annotations

from string import Template

POLICY = Template(
    """\
  latency_p95_ms: 100
  parity: $parity
  slice_drop: 0.1
  # Largest mean change of the answer (of a value in standard deviations of the target) on the reference rows, when
  # inputs are noisy (in their standard deviations) or missing (with this probability).
  checks: {noise: 0.1, noise_change: 0.2, missing: 0.05, missing_change: 0.2}
  # Largest difference between the groups of a column of `data.sensitive`. With fewer than min_groups of
  # evaluation.group the result is unsure.
  fairness:
    gaps: {error_rate: 0.3}
    min_groups: 5
  # Allowed licences (SPDX) of the data and of every package that runs with the model. A missing licence needs a
  # person; any other licence stops the candidate.
  licences:
    allowed:
$licences    stated:  # read from the package's licence file
      grandalf: GPL-2.0-only OR EPL-1.0
      huey: MIT
      pygit2: LicenseRef-GPL-2.0-linking-exception
      skops: MIT
      supervisor: BSD-3-Clause-Modification
      text-unidecode: Artistic-1.0-Perl OR GPL-2.0-or-later
  # A reproduction from the version's capsule must give the same digest, or metrics within these tolerances.
  # required: a candidate gets no traffic without a passed `perennial reproduce`.
  reproduction: {evidence: optional, tolerance: $tolerance}
  behaviour: null
  # How far a variant of `perennial optimise` may be from its parent; without the key none is made:
  # variants: {agreement: 0.99, quality_drop: 0.005}

# Number of different people who must approve a release, without its requester; 0: the policy approves.
approval:
  low_risk: 0
  medium_risk: 1  # a rule of the gate is unsure
  high_risk: 2  # the first version, another architecture or other features, a drop on a slice
  lapses_after: P7D
  anonymous_tag: false  # true: the tag `approval` also counts when MLflow does not record who set it

release:
  strategy: canary  # or blue_green, shadow_only, ab, rolling, immediate; each reads the keys that it needs
  shadow: PT1H  # duration of mirrored traffic before the first step; null: none
  steps:  # canary
    - {weight: 5, duration: PT6H}
    - {weight: 20, duration: PT12H}
    - {weight: 50, duration: PT24H}
  hold: PT1H  # blue_green: time that the old version stays loaded; rolling: pause after each server
  # Ends with the sample size of each variant or with the time. A sample ratio mismatch, at this false alarm
  # rate, needs a person.
  ab: {weight: 50, sample: 5000, duration: PT24H, mismatch: 0.001}
  # Unit of the assignment: the user in this header, else the browser with this cookie, else the single request.
  sticky: {header: x-user-id, cookie: null, cookie_age: P30D, experiment: null}
  criteria:
    min_requests: 100
    error_rate_max: 0.05
    error_rate_increase: 0.01
    latency_p95_ratio: 1.5
    latency_p95_floor_ms: 100
    accuracy_drop: 0.05
    min_labels: 100
    confidence: 0.95
    max_errors_in_a_row: 10
  # Labels by source (`perennial feedback source add NAME`). sole_source may decide alone; null: at least two sources
  # must agree. No other source counts for more than source_share.
  feedback: {sole_source: null, source_share: 0.5}
  unsure_after: PT24H
  keep_previous: true

monitoring:
  window: 1500
  min_window: 500
  # No request and no client fills the window alone. A client is an address.
  min_requests: 20
  request_rows: 50
  client_share: 0.5
  # Watched apart from drift, at most a warning: predictions without any known feature, and refused requests (4xx).
  unknown_share: {watch: 0.2, warn: 0.5}
  refused_share: {watch: 0.2, warn: 0.5}
  every: PT15M
  bins: 10
  columns:
$watched  psi: {watch: 0.1, warn: 0.2, retrain: 0.3}
  # Relative to the reference; of a number: by how much its mean error grows. A loss up to `watch` is tolerated.
  accuracy_drop_percent: {watch: 1, warn: 2, retrain: 3}
  features_needed: $needed
  min_labels: 200

retraining:
  schedule: "0 3 * * 1"
  cooldown: PT24H
  max_alarms_per_week: 3

# Shapley values of the answer: of the probability of a class, of the median of a forecast. A row costs `coalitions` x
# `background` scores. A request for more than `max_rows` rows is refused; an explanation whose sum differs from the
# answer by more than `tolerance` is an error.
explanation: $explanation

retention:
  archived_files: P90D  # after this time `perennial models purge` may delete them; ledger and run stay
"""
)
