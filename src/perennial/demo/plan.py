"""Content of a demo: a model, its requests and what is said about them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from perennial.demo.replay import Batch


@dataclass(frozen=True)
class DemoPlan:
    """Content of the loop in a demo: a model, its requests and what is said about them."""

    model: str
    label_source: str
    """Source of labels that the model's spec trusts."""
    data: str
    why: str
    """Origin of the data."""
    batches: Iterable[Batch]
    finished: Callable[[int], None]
    """Takes in the rows of a finished batch."""
    shifted_from: int
    """First batch with shifted labels."""
    shift: str
    """The shift, in words for a person."""
    window: int
    """Labelled predictions per point of the picture."""
    patience: float = 0.0
    """Seconds after a warning of the monitor in which harm may be proven; then the demo asks as a person. Not used
    where the spec says how many labels are enough."""
    sample: Callable[[], str] | None = None
    """Called when the retrained version is champion: from then on `batches` are a fixed number of requests that count
    its effect, and end. Returns their number, in words. None: they go on as before."""
    meanwhile: float = 1.0
    """Share of the rate while a training or an approval is waited for, so that the recorded requests last."""
    problem: Callable[[], BaseException | None] = lambda: None
    """Error of a thread of the demo, if there is one."""
