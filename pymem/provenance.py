"""What made a result: versions, platform, and a fingerprint of the scenario."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import fields, is_dataclass
from importlib import metadata
from typing import Any

import numpy as np


def version() -> str:
    """The installed version of pymem, ``"0+unknown"`` in a tree that is not installed."""
    try:
        return metadata.version("pymem-sim")
    except metadata.PackageNotFoundError:
        return "0+unknown"


def describe(value: Any) -> Any:
    """A JSON form of settings: dataclasses by field, arrays by SHA-256, other objects by their own `describe`."""
    if is_dataclass(value) and not isinstance(value, type):
        return {"type": type(value).__name__, **{f.name: describe(getattr(value, f.name)) for f in fields(value)}}
    if isinstance(value, dict):
        return {str(k): describe(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [describe(v) for v in value]
    if isinstance(value, np.ndarray):
        digest = hashlib.sha256(np.ascontiguousarray(value).data).hexdigest()
        return {"dtype": str(value.dtype), "shape": list(value.shape), "sha256": digest}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    own = sorted(getattr(value, "__dict__", {}).items())
    return {"type": type(value).__name__, **{k: describe(v) for k, v in own if not k.startswith("_")}}


def fingerprint(scenario: Any) -> str:
    """SHA-256 over the description of a scenario."""
    return hashlib.sha256(json.dumps(describe(scenario), sort_keys=True).encode()).hexdigest()


def provenance(scenario: Any) -> dict[str, Any]:
    """Versions, platform and scenario of a run, with a SHA-256 over the scenario."""
    return {
        "pymem": version(),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "scenario_sha256": fingerprint(scenario),
        "scenario": describe(scenario),
    }
