"""The child process that reads a skops file: `python -m perennial.adapters.importing.skops_child`.

It reads a request as JSON from its standard input, and answers a JSON line and the bytes of an ONNX file. Before
skops builds an object, its list of types must have none that is untrusted, beside those that the request accepts.
"""

from __future__ import annotations

import base64
import io
import json
import sys
import tempfile
from typing import Any

KNOWN_TYPES = frozenset(
    {
        "sklearn.tree._tree.Tree",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    }
)
"""Types that skops does not trust and that a person may accept: they hold only arrays."""


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Return what the request asks for, or `problem`."""
    import sklearn.base  # noqa: F401 before: scipy, which it loads, takes a hidden package for a loaded one

    from perennial.hidden_packages import BY_SKOPS, hidden

    with hidden(*BY_SKOPS):
        from skops.io import get_untrusted_types, load

    accepted = set(request["trust"]) & KNOWN_TYPES
    untrusted = sorted(set(get_untrusted_types(file=request["path"])) - accepted)
    if untrusted:
        known = [name for name in untrusted if name in KNOWN_TYPES]
        hint = " ".join(f"--trust {name}" for name in known) if known == untrusted else ""
        return {"problem": f"holds types that are not trusted: {', '.join(untrusted)}", "hint": hint}
    model = load(request["path"], trusted=sorted(accepted))
    if not hasattr(model, "predict"):
        return {"problem": f"holds a {type(model).__name__}, which predicts nothing"}
    return _described(model) if request["inputs"] is None else _converted(model, request)


def _described(model: Any) -> dict[str, Any]:
    names = getattr(model, "feature_names_in_", None)
    classes = getattr(model, "classes_", None)
    return {
        "names": None if names is None else [str(name) for name in names],
        "width": int(model.n_features_in_),
        "classes": None if classes is None else classes.tolist(),
        "by_name": names is not None and _by_column(model),
        "type": type(getattr(model, "steps", [(None, model)])[-1][1]).__name__,
    }


def _by_column(model: Any) -> bool:
    from sklearn.compose import ColumnTransformer

    parts = [model, *(model.get_params(deep=True).values() if hasattr(model, "get_params") else ())]
    return any(isinstance(part, ColumnTransformer) for part in parts)


def _converted(model: Any, request: dict[str, Any]) -> dict[str, Any]:
    import numpy as np
    import pandas as pd
    import skl2onnx
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    inputs, features = request["inputs"], np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False)
    is_class = hasattr(model, "predict_proba")
    if request["by_name"]:
        types = [(name, StringTensorType([None, 1]) if categories else FloatTensorType([None, 1]))
                 for name, categories in inputs.items()]  # fmt: skip
        frame = pd.DataFrame(features, columns=list(inputs))
        for name, categories in inputs.items():
            if categories:
                codes = features[:, list(inputs).index(name)]
                texts = [categories[int(code)] if code == code else "" for code in codes]
                frame[name] = np.array(texts, dtype=object)
        rows: Any = frame
    else:
        types = [("X", FloatTensorType([None, len(inputs)]))]
        named = getattr(model, "feature_names_in_", None) is not None
        rows = pd.DataFrame(features, columns=list(inputs)) if named else features
    try:
        options = {"zipmap": False} if is_class else None
        made = skl2onnx.convert_sklearn(model, name="given", initial_types=types, options=options)
    except Exception as error:  # noqa: BLE001 the library has exceptions of many kinds
        said = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        return {"problem": f"{_described(model)['type']} cannot be converted to ONNX by skl2onnx: {said}"}
    values = (
        model.predict_proba(rows) if is_class else np.asarray(model.predict(rows), dtype=float).reshape(-1, 1)
    )
    name = "probabilities" if is_class else made.graph.output[0].name
    return {
        "onnx": base64.b64encode(made.SerializeToString()).decode(),
        "output": name,
        "answers": np.asarray(values, dtype=float).tolist(),
    }


def main(memory_bytes: str, cpu_seconds: str) -> None:
    """Run as the child."""
    from perennial.model_trial import limit

    request = json.loads(sys.stdin.buffer.readline())
    tempfile.gettempdir()  # tries to write a file, which the limit then forbids
    limit(int(memory_bytes), int(cpu_seconds))
    try:
        result = answer(request)
    except MemoryError:
        result = {"problem": "needs too much memory"}
    except Exception as error:  # noqa: BLE001 whatever a foreign file brings about is its problem
        said = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        result = {"problem": f"cannot be read: {said}"}
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
