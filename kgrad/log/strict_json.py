"""JSON that every reader takes: NaN and infinities have no place in it."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def strict(value: Any) -> Any:
    """The value in plain JSON types, NaN and infinities as `None`.

    >>> strict({"a": (1.0, float("nan")), 2: np.float32(0.5)})
    {'a': [1.0, None], '2': 0.5}
    """
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {str(key): strict(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict(entry) for entry in value]
    return value


def to_json(data: Any) -> bytes:
    """The data as strict JSON: NaN and infinities become `null`."""
    return json.dumps(strict(data), indent=1, ensure_ascii=False, allow_nan=False, default=str).encode()
