"""The templates for images of any size and for texts beside numbers export what they have learnt."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from perennial.core.input_encoding import encode
from perennial.core.input_spec import InputSpec, columns_of
from perennial.core.tasks import Binary
from perennial.errors import DataError
from perennial.models.base import Examples
from perennial.models.templates.image import ImageNetwork
from perennial.models.templates.text import TextNetwork

TASK = Binary(threshold=0.5, positive=1, negative=0)
RANDOM = np.random.default_rng(0)


class Photo(ImageNetwork):
    height, width, channels, largest = 17, 10, 3, 255.0


def learnt(model, rows: np.ndarray, target: np.ndarray, path) -> np.ndarray:
    """Return the answers of the exported model, which are those of the trained one."""
    examples = Examples(rows.astype(np.float32), target.astype(np.float32), np.arange(len(rows)))
    model.fit(examples, None, 8, lambda *_: None)
    model.export(path)
    session = onnxruntime.InferenceSession(str(path))
    answer = session.run(None, {"features": examples.features})[0]
    assert answer == pytest.approx(model.predict(examples.features), abs=1e-5)
    return answer


def test_an_image_of_another_size_with_colours(tmp_path):
    rows = RANDOM.uniform(0, 255, (80, 17 * 10 * 3))
    target = np.arange(80) % 2
    rows[target == 1, 2::3] *= 0.3  # the third channel is dark
    rows[0, :20] = np.nan
    parameters = {"filters": 8, "width": 16, "dropout": 0.1, "learning_rate": 5e-3, "weight_decay": 1e-3}
    names = tuple(f"p{place}" for place in range(rows.shape[1]))
    answer = learnt(Photo(names, parameters, 7, TASK), rows, target, tmp_path / "model.onnx")
    assert np.mean((answer > 0.5) == target) > 0.9
    with pytest.raises(DataError, match="509 inputs are no image of 17 x 10 x 3"):
        Photo(names[1:], parameters, 7, TASK).fit(
            Examples(rows[:, 1:], target, np.arange(80)), None, 1, lambda *_: None
        )


def test_a_text_beside_a_number(tmp_path):
    inputs = {
        "size": InputSpec(type="float", missing="allow"),
        "note": InputSpec(type="text", missing="allow", buckets=64),
    }
    target = np.arange(80) % 2
    notes = [
        None if place == 0 else ("broken again" if label else "works well")
        for place, label in enumerate(target)
    ]
    rows = encode(inputs, {"size": RANDOM.normal(size=80), "note": notes}, 80)
    parameters = {"embedding": 8, "width": 16, "dropout": 0.1, "learning_rate": 1e-2, "weight_decay": 1e-3}
    model = TextNetwork(columns_of(inputs), parameters, 7, TASK, inputs)
    answer = learnt(model, rows, target, tmp_path / "model.onnx")
    assert np.mean((answer[1:] > 0.5) == target[1:]) > 0.95
    with pytest.raises(DataError, match="no input is a text"):
        TextNetwork(("size",), parameters, 7, TASK, {"size": inputs["size"]}).fit(
            Examples(rows[:, :1], target, np.arange(80)), None, 1, lambda *_: None
        )
