"""Recorded runs of a real kernel: one JSON file each, gzip or not; docs/validation.md has the format.

A recording knows the machine (zones and what was free in them before the first access), every tunable, the
text from which its accesses follow, and the kernel's counters before, during and after the run.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from typing import Any

from pymem.errors import ValidationError
from pymem.tunables import kernel_of

NEEDED = ("name", "seed", "config", "kernel")
_DISK = re.compile(r"^\s*\d+\s+\d+\s+(\w+)\s+(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Recording:
    """One recorded run.

    Attributes
    ----------
    path : str
    data : dict
        The file as it is.
    """

    path: str
    data: dict[str, Any]

    @property
    def name(self) -> str:
        """The scenario: runs of the same name differ by seed and repeat only."""
        return str(self.data["name"])

    @property
    def label(self) -> str:
        """Name, seed and repeat, as in the name of the file."""
        repeat = self.data.get("repeat") or 1
        return f"{self.name}.s{self.seed}" + (f"r{repeat}" if repeat != 1 else "")

    @property
    def seed(self) -> int:
        """Seed of the access trace."""
        return int(self.data["seed"])

    @property
    def config(self) -> dict[str, Any]:
        """Parameters of the scenario."""
        config = self.data["config"]
        assert isinstance(config, dict)
        return config

    @property
    def mode(self) -> str:
        """``"run"``: one program replays a trace; ``"oom"``: several grow until memory is out."""
        return str(self.config.get("mode", "run"))

    @property
    def kernel(self) -> str:
        """``"6.1"`` or ``"6.12"``."""
        try:
            return kernel_of(str(self.data["kernel"]))
        except ValueError:
            found = self.data["kernel"]
            raise ValidationError(f"{self.path}: kernel is {found!r}; accepted is text with a version") from None

    @property
    def left_out(self) -> str:
        """Why it cannot be judged, or an empty text."""
        missing = [key for key in ("sysctl_vm", "params", "zoneinfo_start") if key not in self.data]
        if missing:
            return f"the recording has no {missing[0]}: the run did not finish"
        if int(str(self.data["params"].get("/sys/kernel/mm/lru_gen/enabled", "0")), 0):
            return "multi-generational LRU is not simulated"
        if self.config.get("cg"):
            return "limits of control groups are not simulated"
        if self.mode == "run" and not {"vmstat_start", "vmstat_end"} <= set(self.data):
            return "the recording has no counters: the run did not finish"
        if self.mode == "run" and not self.data.get("ok", True):
            return "the recorded run did not finish"
        return ""

    @property
    def zswap(self) -> dict[str, str]:
        """The parameters of zswap; empty if it was off."""
        at = "/sys/module/zswap/parameters/"
        found = {path[len(at) :]: str(v).strip() for path, v in self.data["params"].items() if path.startswith(at)}
        return found if found.get("enabled", "N").upper() in ("Y", "1") else {}

    @property
    def compressor(self) -> str:
        """What compressed the pages that left memory; empty if nothing did."""
        swap = str(self.config.get("swap", "none")).split(":")
        return swap[-1] if swap[0] == "zram" else self.zswap.get("compressor", "")

    def delta(self, counter: str) -> int | None:
        """Events of a counter from the first access to the last; None if the kernel does not have it."""
        end, start = self.data.get("vmstat_end", {}), self.data["vmstat_start"]
        return int(end[counter]) - int(start[counter]) if counter in end and counter in start else None

    def end(self, gauge: str) -> int | None:
        """Level of a gauge after the last access."""
        value = self.data.get("vmstat_end", {}).get(gauge)
        return None if value is None else int(value)

    def disk(self, device: str) -> dict[str, int] | None:
        """Reads, writes, and ms of each, of a disk during the run (``/proc/diskstats``)."""
        now = self._disk("other_end", device)
        if now is None:
            return None
        before = self._disk("other_start", device) or {}
        return {key: value - before.get(key, 0) for key, value in now.items()}

    def _disk(self, key: str, device: str) -> dict[str, int] | None:
        text = self.data.get(key, {}).get("/proc/diskstats", "")
        for found, figures in _DISK.findall(text):
            if found == device:
                f = [int(value) for value in figures.split()]
                return {"reads": f[0], "read_ms": f[3], "writes": f[4], "write_ms": f[7]}
        return None


def read_recording(path: Path) -> Recording:
    """The recording of a file.

    Raises
    ------
    ValidationError
        Not readable, not JSON, or something that every recording has is missing.
    """
    try:
        raw = path.read_bytes()
        data = json.loads(gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw)
    except OSError as error:
        raise ValidationError(f"{path}: {error.strerror or error}") from None
    except (EOFError, zlib.error, ValueError) as error:
        raise ValidationError(f"{path}: not a recording ({error}); accepted is JSON, gzip or plain") from None
    if not isinstance(data, dict):
        raise ValidationError(f"{path}: a JSON {type(data).__name__}; accepted is an object")
    missing = [key for key in NEEDED if key not in data]
    if missing or not isinstance(data["config"], dict) or "spec" not in data["config"]:
        raise ValidationError(f"{path}: {', '.join(missing) or 'config.spec'} is missing; this is not a recording")
    return Recording(str(path), data)


@lru_cache(maxsize=1024)
def _read_once(path: Path, _changed: int) -> Recording:
    return read_recording(path)


def shipped() -> Path:
    """Folder of the recordings that come with pymem."""
    return Path(__file__).resolve().parent.parent / "data" / "recordings"


def load(folder: Path | None = None, pattern: str = "*") -> list[Recording]:
    """The recordings of a folder whose label matches a pattern, sorted by name.

    Parameters
    ----------
    folder : Path, optional
        Default: those that come with pymem.
    pattern : str
        As in a shell; a text without ``*`` and ``?`` matches wherever it occurs.
    """
    folder = folder or shipped()
    if not folder.is_dir():
        raise ValidationError(f"{folder}: no such folder; accepted is one with recordings (*.json.gz, *.json)")
    if not any(c in pattern for c in "*?["):
        pattern = f"*{pattern}*"
    files = sorted(path for path in folder.iterdir() if path.name.endswith((".json.gz", ".json")))
    found = [r for r in (_read_once(path, path.stat().st_mtime_ns) for path in files) if fnmatch(r.label, pattern)]
    if not found:
        raise ValidationError(f"{folder}: no recording matches {pattern!r} among {len(files)} files")
    return sorted(found, key=lambda r: (r.name, r.seed, r.data.get("repeat") or 1))
