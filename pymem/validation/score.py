"""Which counters are compared, and when a simulated one is right.

Two kinds.  *Policy* counters are what the kernel itself repeats within about 1 % when a run is repeated: right is
inside the kernel's own range over the runs of a scenario, widened by 3 %, or within 64 events of it.  *Timing*
counters depend on how fast CPU and disk happened to be: right is inside the range widened by a factor of 2, or
within 64 events of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pymem.validation.victims import victims

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pymem.validation.recording import Recording

POLICY_SHARE = 0.03
TIMING_FACTOR = 2.0
EVENTS = 64
#: Off by more than this, a pair needs a named cause.
FAR = 1.5

POLICY = (
    "pgfault", "pgmajfault", "pswpin", "pswpout", "pgscan", "pgsteal", "pgscan_anon", "pgscan_file", "pgsteal_anon",
    "pgsteal_file", "pgactivate", "pgdeactivate", "pgrefill", "workingset_refault_anon", "workingset_refault_file",
    "workingset_activate_anon", "workingset_activate_file", "workingset_restore_anon", "workingset_restore_file",
    "nr_written", "zswpin", "zswpout", "numa_hit", "numa_miss", "numa_foreign", "numa_local", "numa_other",
    "zone_reclaim_failed",
)  # fmt: skip
GAUGES = ("nr_free_pages", "nr_active_anon", "nr_inactive_anon", "nr_active_file", "nr_inactive_file")
TIMING = (
    "pgscan_kswapd", "pgscan_direct", "pgsteal_kswapd", "pgsteal_direct", "allocstall", "pageoutrun", "pgskip",
    "psi_some_us", "psi_full_us",
)  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """One counter of one recording: the kernel's range, what was simulated, and whether that is right."""

    recording: str
    counter: str
    kind: str
    kernel: tuple[float, float]
    simulated: float

    @property
    def right(self) -> bool:
        """See the module."""
        least, most = window(self.kind, self.kernel)
        return least <= self.simulated <= most

    @property
    def empty(self) -> bool:
        """Neither the kernel nor the simulator ever counted anything: right, but no evidence; not scored."""
        return self.kind != "exact" and not any(self.kernel) and not self.simulated

    @property
    def error(self) -> float:
        """Distance from the kernel's range as a share of its nearer end; 0 inside."""
        low, high = self.kernel
        if low <= self.simulated <= high:
            return 0.0
        near = high if self.simulated > high else low
        return (self.simulated - near) / near if near else float("inf")

    @property
    def far(self) -> bool:
        """Wrong, and off by more than a factor of 1.5."""
        low, high = self.kernel
        return not self.right and not low / FAR <= self.simulated <= high * FAR

    def to_dict(self) -> dict[str, object]:
        """As in the JSON file."""
        return {
            "recording": self.recording, "counter": self.counter, "kind": self.kind,
            "kernel": [_plain(self.kernel[0]), _plain(self.kernel[1])], "simulated": _plain(self.simulated),
            "right": self.right,
        }  # fmt: skip


def window(kind: str, kernel: tuple[float, float]) -> tuple[float, float]:
    """The least and the most that is right where the kernel's own runs lie in a range; see the module."""
    low, high = kernel
    if kind == "exact":
        return kernel
    if kind == "timing":
        least, most = low / TIMING_FACTOR, high * TIMING_FACTOR
    else:
        least, most = low * (1 - POLICY_SHARE), high * (1 + POLICY_SHARE)
    return min(least, low - EVENTS), max(most, high + EVENTS)


def _plain(value: float) -> float | int:
    return int(value) if float(value).is_integer() else value


def net(counters: Mapping[str, int]) -> dict[str, int]:
    """Counters with the sums that are compared: totals without the pages that were only skipped.

    The kernel counts pages of a zone too high to help as scanned too (pgskip_*); how often it walks over them
    depends on timing.
    """
    out = dict(counters)

    def total(prefix: str, *parts: str) -> int:
        return sum(counters.get(f"{prefix}_{part}", 0) for part in parts)

    zones = ("dma", "dma32", "normal", "movable")
    skipped = total("pgskip", *zones)
    scanned = total("pgscan", "kswapd", "direct", "khugepaged")
    out["pgskip"] = skipped
    out["pgscan"] = scanned - skipped
    out["pgsteal"] = total("pgsteal", "kswapd", "direct", "khugepaged")
    out["allocstall"] = total("allocstall", *zones)
    both = total("pgscan", "anon", "file")
    for kind in ("anon", "file"):
        if f"pgscan_{kind}" in counters:
            mine = counters[f"pgscan_{kind}"]
            out[f"pgscan_{kind}"] = mine - (skipped * mine // both if both else 0)
    return out


def recorded(recording: Recording) -> dict[str, float]:
    """What is compared, of a recorded run."""
    start, end = recording.data["vmstat_start"], recording.data["vmstat_end"]
    out: dict[str, float] = dict(net({k: int(end[k]) - int(start[k]) for k in end if k in start}))
    out.update({g: int(end[g]) for g in GAUGES})
    psi = recording.data.get("psi_memory", {})
    for kind in ("some", "full"):
        if psi.get(f"{kind}_total"):
            out[f"psi_{kind}_us"] = psi[f"{kind}_total"][-1] - psi[f"{kind}_total"][0]
    return out


def kind_of(counter: str) -> str:
    """``"policy"``, ``"timing"`` or ``"exact"``."""
    if counter.startswith("victim"):
        return "exact"
    return "timing" if counter in TIMING else "policy"


def pairs(recordings: Sequence[Recording], simulated: Mapping[str, Mapping[str, float]]) -> list[Pair]:
    """The pairs of recordings that were simulated (by label), each against all recordings of its scenario."""
    out = []
    known: dict[str, list[dict[str, float]]] = {}
    for r in recordings:
        if r.left_out:
            continue
        figures = victims(r) if r.mode == "oom" else recorded(r)
        known.setdefault(r.name, []).append(figures)
    for r in recordings:
        found = simulated.get(r.label)
        if found is None:
            continue
        chosen = [*POLICY, *GAUGES, *TIMING] if r.mode != "oom" else sorted({k for f in known[r.name] for k in f})
        for counter in chosen:
            values = [figures[counter] for figures in known[r.name] if counter in figures]
            if values and counter in found:
                out.append(Pair(r.label, counter, kind_of(counter), (min(values), max(values)), found[counter]))
    return out
