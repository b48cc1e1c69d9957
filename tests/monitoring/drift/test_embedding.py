"""Images, texts and arrays as a few numbers: what changes in many columns a little is seen."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from sklearn.datasets import load_digits

from perennial import catalog
from perennial.core.feature_spec import FeatureSpec
from perennial.core.monitoring.measured import measure
from perennial.core.monitoring.views.embedding import COMPONENTS, MOST_COLUMNS, components
from perennial.settings import Settings

IMAGES = np.random.default_rng(5).permutation(load_digits().data)
KNOWN, SEEN = IMAGES[:1200], IMAGES[1200:]


def moved(window: np.ndarray):
    (drift,) = (
        drift
        for drift in measure(
            {"inputs#embedding": components(KNOWN, window)},
            np.arange(len(KNOWN)), np.arange(len(window)), 10, seed=1, warn_level=1e-7,
        )
        if drift.column != "joint"
    )  # fmt: skip
    return drift


def test_other_images_of_the_same_kind_are_no_drift():
    assert not moved(SEEN).is_proven


@pytest.mark.parametrize(
    "change",
    [
        lambda images: np.roll(images.reshape(-1, 8, 8), 1, axis=2).reshape(images.shape),
        lambda images: images.reshape(-1, 8, 8)[:, :, ::-1].reshape(images.shape),
        lambda images: 16 - images,
    ],
    ids=["a pixel to the right", "mirrored", "inverted"],
)
def test_images_of_another_camera_are_certain(change):
    drift = moved(change(SEEN))
    assert drift.is_certain
    assert drift.excess > 0.3


def test_the_same_rows_give_the_same_numbers_and_order_does_not_matter():
    known, seen = components(KNOWN, SEEN)
    again, others = components(KNOWN[::-1], SEEN)
    assert known.shape == (1200, COMPONENTS)
    assert np.allclose(again[::-1], known)
    assert np.allclose(others, seen)


def test_an_outlier_and_missing_values_do_not_make_the_numbers():
    far = SEEN.copy()
    far[0] = 1e12
    assert not moved(far).is_proven
    holes = np.where(np.random.default_rng(1).random(KNOWN.shape) < 0.1, np.nan, KNOWN)
    assert np.isfinite(components(holes, SEEN)[0]).all()
    nothing = np.full((50, 3), np.nan)
    assert (components(nothing, nothing)[0] == 0).all()


def test_very_many_columns_are_mixed_first():
    wide = np.random.default_rng(2).normal(size=(60, 900))
    known, seen = components(wide[:40], wide[40:])
    assert (known.shape, seen.shape) == ((40, COMPONENTS), (20, COMPONENTS))


def test_names_of_views_lead_to_their_columns():
    inputs = {
        "title": {"type": "text", "buckets": 16, "missing": "refuse"},
        "vector": {"type": "array", "size": 3, "missing": "refuse"},
        "price": {"type": "float", "missing": "allow"},
        "shop": {"type": "category", "categories": ["a", "b"], "unknown": "missing", "missing": "allow"},
    }
    features = FeatureSpec.model_validate({"source": "request", "inputs": inputs})
    array = tuple(f"vector[{place}]" for place in range(3))
    counts = tuple(f"title#{place}" for place in range(16))
    assert features.viewed("inputs#embedding") == (*array, "price")
    assert features.viewed("vector#embedding") == array
    assert features.viewed("title#embedding") == features.viewed("title#vocabulary") == counts
    for plain in ("title#length", "vector", "price", "price#embedding", "vector#vocabulary", "#embedding"):
        assert features.viewed(plain) == ()
    assert features.watched("vector#embedding") == ()
    assert features.watched("vector") == array


@pytest.mark.parametrize("model", ["digits", "requirement_triage"])
def test_shipped_models_of_images_and_texts_watch_an_embedding(model):
    spec = catalog.spec(model, Settings(spec_overlay=None))
    (view,) = (name for name in spec.monitoring.columns if name.endswith("#embedding"))
    assert len(spec.features.viewed(view)) in (64, 512)


def test_the_ranks_of_many_columns_are_not_all_in_memory_at_once():
    wide = np.random.default_rng(4).normal(size=(150, 12 * MOST_COLUMNS))
    tracemalloc.start()
    try:
        components(wide[:100], wide[100:])
        assert tracemalloc.get_traced_memory()[1] < wide.nbytes
    finally:
        tracemalloc.stop()
