"""Ports: protocols of the effects that flows need. Each adapter implements a port with a single library.

Frames are pandas DataFrames with the columns in the docstring. `tests/support/doubles` has a fake of each port;
`tests/contracts` runs the same tests with fakes and adapters.
"""

from perennial.ports.identity import TokenStore
from perennial.ports.monitoring import DriftReporter, Scheduler
from perennial.ports.notifying import Deliveries, Notifier
from perennial.ports.records import Intents, Ledger, ReleaseStore, Signer
from perennial.ports.traffic import (
    BySource,
    FeedbackStore,
    Pool,
    PredictionLog,
    Probe,
    RollbackJournal,
    Router,
)
from perennial.ports.training import (
    DataStore,
    Explain,
    Features,
    Figures,
    GroupFigures,
    Reference,
    Run,
    Scorer,
    Tracker,
    Tuner,
    Validator,
)
from perennial.ports.versions import Labels, ModelFiles, Registry, VersionSearch

__all__ = [
    "BySource",
    "DataStore",
    "Deliveries",
    "DriftReporter",
    "Explain",
    "Features",
    "FeedbackStore",
    "Figures",
    "GroupFigures",
    "Intents",
    "Labels",
    "Ledger",
    "ModelFiles",
    "Notifier",
    "Pool",
    "PredictionLog",
    "Probe",
    "Reference",
    "Registry",
    "ReleaseStore",
    "RollbackJournal",
    "Router",
    "Run",
    "Scheduler",
    "Scorer",
    "Signer",
    "TokenStore",
    "Tracker",
    "Tuner",
    "Validator",
    "VersionSearch",
]
