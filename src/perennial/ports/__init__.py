"""Ports: protocols of the effects that flows need. Each adapter implements a port with a single library.

Frames are pandas DataFrames with the columns in the docstring. `tests/support/doubles` has a fake of each port;
`tests/contracts` runs the same tests with fakes and adapters.
"""

from perennial.ports.monitoring import DetectorStore, DriftReporter, Notifier, Profiler, Scheduler
from perennial.ports.records import Deliveries, Intents, Ledger, ReleaseStore, Signer, TokenStore
from perennial.ports.traffic import (
    BySource,
    FeedbackStore,
    GrowingLog,
    Pool,
    PredictionLog,
    Probe,
    RollbackJournal,
    Router,
    Taker,
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
    Source,
    Together,
    Tracker,
    Tuner,
    Validator,
    Windows,
)
from perennial.ports.versions import BentoBuilder, Labels, ModelFiles, Registry, VersionSearch
