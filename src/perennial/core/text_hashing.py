"""The one encoding of texts, for training and serving: hashed counts of character n-grams.

Method: K. Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", ICML 2009, as scikit-learn's
HashingVectorizer has it (MurmurHash3). It learns nothing from data, so that training and serving cannot differ.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import HashingVectorizer

NGRAMS = (3, 5)
"""Shortest and longest n-gram; none crosses the border of a word."""


def hashed(texts: Sequence[str], buckets: int) -> np.ndarray:
    """Return the length of each text and the count of its n-grams in each bucket, float32 [n, 1 + buckets].

    Texts that differ only in case, in the width of spaces or in the Unicode form of a character are equal.
    """
    plain = [" ".join(unicodedata.normalize("NFKC", text).lower().split()) for text in texts]
    counts = _vectorizer(buckets).transform(plain).toarray()
    return np.column_stack([[len(text) for text in plain], counts]).astype(np.float32)


@lru_cache
def _vectorizer(buckets: int) -> HashingVectorizer:
    # Imported late: a server without texts need not wait for it.
    from sklearn.feature_extraction.text import HashingVectorizer

    return HashingVectorizer(
        analyzer="char_wb", ngram_range=NGRAMS, n_features=buckets, alternate_sign=False, norm=None,
        lowercase=False, dtype=np.float32,
    )  # fmt: skip
