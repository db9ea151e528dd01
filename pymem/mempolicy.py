"""Memory policies: from which nodes new pages come, as by ``set_mempolicy()`` and, for a region, ``mbind()``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pymem.errors import ScenarioError

#: Modes and their numbers in ``memcore/mempolicy.pxd``.
MODES = {"local": 5, "preferred": 1, "bind": 2, "interleave": 3, "weighted-interleave": 4}
MAX_NODES = 64
_ACCEPTED = "a mode ('local'), or a mode and nodes ('bind:0,2-3' or {mode = 'bind', nodes = [0, 2, 3]})"


@dataclass(frozen=True)
class MemPolicy:
    """A memory policy.

    Parameters
    ----------
    mode : {"local", "preferred", "bind", "interleave", "weighted-interleave"}
        ``local``: the node of the CPU first, then others by distance, which is also what happens without a policy.
        ``preferred``: one node first, then others by its distances.  ``bind``: from these nodes only, nearest first,
        and when they are full they are reclaimed and in the end somebody is killed.  ``interleave``: page after page
        from one node after the other.  ``weighted-interleave`` (6.12): the same, but so many pages in a row as
        `pymem.Machine.interleave_weights` says.
    nodes : sequence of int, or str
        Numbers of nodes, or a list as the kernel writes it: ``"0,2-3"``.  Empty for ``local``, one for ``preferred``.

    Raises
    ------
    ScenarioError
    """

    mode: str
    nodes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.mode, str) or self.mode not in MODES:
            raise ScenarioError(f"policy.mode: {self.mode!r}; accepted are {', '.join(MODES)}")
        object.__setattr__(self, "nodes", _nodes(self.nodes))
        if self.mode == "local" and self.nodes:
            raise ScenarioError(f"policy.nodes: {list(self.nodes)}; 'local' takes none")
        if self.mode == "preferred" and len(self.nodes) != 1:
            raise ScenarioError(f"policy.nodes: {list(self.nodes)}; 'preferred' takes one node")
        if self.mode != "local" and not self.nodes:
            raise ScenarioError(f"policy.nodes: missing; '{self.mode}' takes one node or more")

    def check(self, key: str, pages: Sequence[int], kernel: str) -> None:
        """Raise ScenarioError, which names `key`, unless all nodes exist and have memory, and the kernel has the mode.

        `pages` are those of each node, `kernel` is its version.
        """
        if self.mode == "weighted-interleave" and kernel == "6.1":
            raise ScenarioError(f"{key}.mode: 'weighted-interleave' came with Linux 6.9; accepted with kernel '6.12'")
        for node in self.nodes:
            if node >= len(pages):
                raise ScenarioError(f"{key}.nodes: {node}; accepted is 0 to {len(pages) - 1}, the nodes of the machine")
            if not pages[node]:
                raise ScenarioError(f"{key}.nodes: {node}; accepted are nodes that have memory")


def _nodes(value: Any) -> tuple[int, ...]:
    """Numbers of nodes in ascending order, each once."""
    accepted = f"accepted are numbers of nodes from 0 to {MAX_NODES - 1}, or a text such as '0,2-3'"
    if isinstance(value, str):
        value = parse_nodelist(value, "policy.nodes")
    if isinstance(value, int) and not isinstance(value, bool):
        value = (value,)
    if not isinstance(value, (list, tuple)):
        raise ScenarioError(f"policy.nodes: {value!r}; {accepted}")
    for node in value:
        if isinstance(node, bool) or not isinstance(node, int) or not 0 <= node < MAX_NODES:
            raise ScenarioError(f"policy.nodes: {node!r}; {accepted}")
    return tuple(sorted(set(value)))


def parse_nodelist(text: str, key: str) -> tuple[int, ...]:
    """The numbers of a list such as ``"0,2-3"``, as the kernel writes nodes and CPUs."""
    numbers: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,4})\s*(?:-\s*(\d{1,4})\s*)?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last:
            raise ScenarioError(f"{key}: {text!r}; accepted is a list such as '0,2-3'")
        numbers += range(first, last + 1)
    return tuple(numbers)


def policy_from(value: Any, key: str) -> MemPolicy | None:
    """The policy that a scenario gives: None, a `MemPolicy`, a text such as ``"bind:0,1"``, or a table.

    Raises
    ------
    ScenarioError
        With `key` in front.
    """
    if value is None or isinstance(value, MemPolicy):
        return value
    if isinstance(value, str):
        mode, _, nodes = value.partition(":")
        value = {"mode": mode.strip(), **({"nodes": nodes} if nodes.strip() else {})}
    if not isinstance(value, dict):
        raise ScenarioError(f"{key}: {value!r}; accepted is {_ACCEPTED}")
    for name in value:
        if name not in ("mode", "nodes"):
            raise ScenarioError(f"{key}.{name}: unknown key; accepted are mode, nodes")
    if "mode" not in value:
        raise ScenarioError(f"{key}.mode: missing; accepted are {', '.join(MODES)}")
    try:
        return MemPolicy(**value)
    except ScenarioError as error:
        raise ScenarioError(f"{key}{str(error).removeprefix('policy')}") from None
