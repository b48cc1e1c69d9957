"""A search over one number, whose best value is known. Worker processes import it."""

from __future__ import annotations

from datetime import timedelta

from perennial.core.spec import TuningSpec

TUNING = TuningSpec(trials=12, epochs=6, seed=7, validation_fraction=0.2, timeout=timedelta(minutes=5))


def suggest(trial):
    return {"x": trial.suggest_float("x", -1, 1), "constant": 8}


def objective(parameters, report):
    value = -abs(parameters["x"] - 0.3)
    for epoch in range(TUNING.epochs):
        report(epoch, value)
    return value


def tune(tuner, study="study", tuning=TUNING, objective=objective, maximise=True):
    seen = []
    best = tuner.tune(study, tuning, maximise, suggest, objective, seen.append)
    return best, seen
