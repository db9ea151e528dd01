"""Options that several sub-commands share, and how their texts are read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pymem.errors import PymemError, ScenarioError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymem.scenario import Scenario


def load_with(path: Path, settings: Sequence[str] | None, sysctl: Path | None = None) -> Scenario:
    """The scenario of a file with ``--sysctl`` and then ``--set``, as `pymem run` takes them."""
    from pymem import scenario as scenarios
    from pymem.cli.run import split_setting

    chosen = scenarios.load(path)
    if sysctl is not None:
        from pymem.tunables import read_sysctl_conf

        chosen = chosen.with_settings({f"vm.{k.removeprefix('vm.')}": v for k, v in read_sysctl_conf(sysctl).items()})
    return chosen.with_settings(dict(split_setting(text) for text in settings or []))


def split(option: str, text: str, example: str) -> tuple[str, str]:
    """Key and value of an option's KEY=VALUE; ScenarioError for anything else."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip() or not value.strip():
        raise ScenarioError(f"{option} {text!r}: accepted is {example}")
    return key.strip(), value.strip()


def once(option: str, pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """The pairs as a dict; ScenarioError for a key that comes twice."""
    out: dict[str, Any] = {}
    for key, value in pairs:
        if key in out:
            raise ScenarioError(f"{option} {key}: given twice; give everything at once")
        out[key] = value
    return out


def names(texts: Sequence[str] | None) -> list[str]:
    """The names of an option that may be repeated and take several with commas, each once."""
    parts = [part.strip() for text in texts or [] for part in text.split(",")]
    return list(dict.fromkeys(part for part in parts if part))


def check_file(option: str, path: Path) -> None:
    """Raise PymemError unless a file may be written there."""
    if path.is_dir():
        raise PymemError(f"{option} {path}: is a folder; accepted is the name of a file")
    if not path.absolute().parent.is_dir():
        raise PymemError(f"{option} {path}: {path.absolute().parent} is no folder; accepted is a file in one")
