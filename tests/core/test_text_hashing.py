"""A text becomes the same numbers wherever it is encoded, today and with a later library."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from perennial.core.input_encoding import encode
from perennial.core.input_spec import InputSpec, columns_of, in_order
from perennial.core.text_hashing import hashed
from perennial.errors import MalformedInput

TEXTS = ["The portal shall export invoices.", "Größe µ", "", "Ünïcode 漢字 🚀", "a  b\tc"]
SPEC = {
    "text": InputSpec(type="text", missing="allow", buckets=64),
    "size": InputSpec(type="float", missing="refuse"),
}


def test_the_numbers_of_a_text_never_change():
    """Versions in use were trained with these counts: another digest means that all texts must be trained again."""
    digest = hashlib.sha256(hashed(TEXTS, 512).tobytes()).hexdigest()
    assert digest == "918ab96945b9e2a1803d1b7b71db528ec070b5e37d42c21810a24f632d3eb1e9"


def test_equal_texts_for_a_reader_are_equal_for_a_model():
    same = ["caf\u00e9  au LAIT", "cafe\u0301 au\nlait", "ｃａｆé au lait "]
    counts = hashed(same, 128)
    assert (counts == counts[0]).all()
    assert counts[0, 0] == len("café au lait")
    assert (hashed(["cafe au lait"], 128) != counts[0]).any()


def test_columns_of_a_text_stand_where_the_text_stands():
    names = columns_of(SPEC)
    assert (names[0], names[1], names[64], names[65]) == ("text#length", "text#0", "text#63", "size")
    rows = encode(SPEC, {"text": ["abc", None, ""], "size": [1.0, 2.0, 3.0]}, 3)
    assert rows.shape == (3, 66)
    assert rows[:, 65].tolist() == [1.0, 2.0, 3.0]
    assert rows[0, 0] == 3
    assert rows[0, 1:65].sum() > 0
    assert np.isnan(rows[1, :65]).all()
    assert not rows[2, :65].any()
    shuffled = dict(reversed(SPEC.items()))
    assert list(in_order(shuffled, names)) == ["text", "size"]


@pytest.mark.parametrize("value", [5, True, ["a"]])
def test_what_is_no_text_is_refused_with_its_row(value):
    with pytest.raises(MalformedInput, match="row 1, text is"):
        encode(SPEC, {"text": ["abc", value], "size": [1.0, 2.0]}, 2)


def test_buckets_belong_to_texts():
    with pytest.raises(ValueError, match="belongs to type text"):
        InputSpec(type="text", missing="allow")
    with pytest.raises(ValueError, match="belongs to type text"):
        InputSpec(type="float", missing="allow", buckets=64)
