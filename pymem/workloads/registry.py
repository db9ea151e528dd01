"""Workloads by the names that scenario files use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pymem.errors import ScenarioError
from pymem.workloads.compose import Mix, Phases
from pymem.workloads.files import DirtyWriter, FileStream
from pymem.workloads.hotcold import HotCold
from pymem.workloads.leak import Leak
from pymem.workloads.linear import Sequential, Strided
from pymem.workloads.masim import Masim
from pymem.workloads.trace import Recorded, Trace
from pymem.workloads.uniform import Uniform
from pymem.workloads.zipf import Zipf

if TYPE_CHECKING:
    from pathlib import Path

    from pymem.workloads.base import Workload

KINDS: dict[str, type[Workload]] = {
    cls.kind: cls
    for cls in (
        Trace, Recorded, Sequential, Strided, Uniform, Zipf, HotCold, FileStream, DirtyWriter, Leak, Phases,
        Mix, Masim,
    )
}  # fmt: skip


def from_dict(value: Any, key: str, base: Path) -> Workload:
    """The workload of a TOML table such as ``{kind = "zipf", size = "300MiB", accesses = 1_000_000}``.

    Parameters
    ----------
    value : dict
    key : str
        Where the table stands, for messages.
    base : Path
        Where relative paths in the table start.

    Raises
    ------
    ScenarioError
        An unknown kind or key, a key that is missing, or a value that is not accepted.
    """
    if not isinstance(value, dict):
        raise ScenarioError(f"{key}: {value!r:.80}; accepted is a table with a kind")
    table = dict(value)
    kind = table.pop("kind", None)
    if not isinstance(kind, str) or kind not in KINDS:
        found = "missing" if kind is None else repr(kind)
        raise ScenarioError(f"{key}.kind: {found}; accepted are {', '.join(map(repr, KINDS))}")
    try:
        return KINDS[kind].from_table(table, key, base)
    except ScenarioError as error:
        # A constructor names its own kind; who wrote the file looks for the key.
        text = str(error)
        if text.startswith((f"{kind}.", f"{kind}:", f"{kind}[")):
            raise type(error)(key + text[len(kind) :]) from None
        if text.startswith(key):
            raise
        raise type(error)(f"{key}: {text}") from None
