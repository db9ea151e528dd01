"""Who dies when memory runs out: policies of the kernel, and killers in user space that act before it.

A policy (`Policy`) is asked when an allocation has failed for good.  A daemon (`Daemon`) looks at the machine at
simulated times of its own choice.  Both receive facts about every task as arrays with one element per task, in
order of creation.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import fields, is_dataclass, replace
from typing import Any

from pymem.errors import ScenarioError
from pymem.oom.daemon import Daemon, Kill, System
from pymem.oom.earlyoom import EarlyOom
from pymem.oom.facts import ADJ_MIN, COLUMNS, NEVER, OomFacts, badness, facts_from, oom_score
from pymem.oom.lmkd import Lmkd
from pymem.oom.oomd import SystemdOomd
from pymem.oom.policies import (
    Custom,
    Historical,
    KernelBadness,
    KillAllocating,
    Largest,
    Oldest,
    Panic,
    Policy,
    Scored,
)
from pymem.oom.report import oom_report

__all__ = [
    "ADJ_MIN", "COLUMNS", "NEVER", "POLICIES", "Custom", "Daemon", "EarlyOom", "Historical", "KernelBadness", "Kill",
    "KillAllocating", "Largest", "Lmkd", "Oldest", "OomFacts", "Panic", "Policy", "Scored", "System", "SystemdOomd",
    "badness", "by_name", "facts_from", "name_of", "oom_report", "oom_score",
]  # fmt: skip

POLICIES: dict[str, type[Scored]] = {
    "kernel": KernelBadness,
    "historical": Historical,
    "largest": Largest,
    "oldest": Oldest,
    "allocating": KillAllocating,
    "panic": Panic,
    "earlyoom": EarlyOom,
    "systemd-oomd": SystemdOomd,
    "lmkd": Lmkd,
}


def by_name(policy: Any) -> Policy:
    """The policy of that name.

    A table with ``name`` and settings becomes a daemon with these settings, a daemon a fresh copy of itself, a function
    a `Custom` policy; another policy is returned as it is.

    Raises
    ------
    ScenarioError
    """
    if isinstance(policy, str):
        return _class(policy)()
    if isinstance(policy, Mapping):
        settings = dict(policy)
        cls = _class(settings.pop("name", None))
        accepted: list[str] = [field.name for field in fields(cls)] if is_dataclass(cls) else []
        for name in settings:
            if name not in accepted:
                raise ScenarioError(f"oom_policy.{name}: unknown key; accepted are {', '.join(['name', *accepted])}")
        return cls(**settings)
    if isinstance(policy, Daemon):
        return replace(policy) if is_dataclass(policy) else copy(policy)
    if hasattr(policy, "scores") and hasattr(policy, "choose"):
        chosen: Policy = policy
        return chosen
    if callable(policy):
        return Custom(policy)
    raise ScenarioError(f"oom_policy: {policy!r}; accepted are a name, a function or a policy of pymem.oom")


def _class(name: Any) -> type[Scored]:
    if not isinstance(name, str) or name not in POLICIES:
        raise ScenarioError(f"oom_policy: {name!r}; accepted are {', '.join(POLICIES)}")
    return POLICIES[name]


def name_of(policy: Policy) -> str:
    """The name of a policy as in `POLICIES`, or that of its class."""
    return next((name for name, cls in POLICIES.items() if type(policy) is cls), type(policy).__name__)
