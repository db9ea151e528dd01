"""What has changed between two looks at the engine, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

#: The lists that reclaim works on, in the engine's order.
LISTS = ("inactive_anon", "active_anon", "inactive_file", "active_file")
_ACTIVE = (1, 3)
_KSWAPD_WAKE, _KSWAPD_SLEEP, _DIRECT_BEGIN, _DIRECT_END = range(4)  # of memcore.engine.EVENT_KINDS


@dataclass(frozen=True)
class Snapshot:
    """The engine at one moment."""

    pages: list[dict[str, Any]]
    free: int
    events: Mapping[str, int]
    stats: Mapping[str, int]
    log: NDArray[Any]
    time: int

    def list(self, lru: int, names: Sequence[str]) -> tuple[str, ...]:
        """Pages of one list, the newest first, with their marks."""
        found = sorted((s["place"], i) for i, s in enumerate(self.pages) if s["lru"] == lru)
        return tuple(names[i] + marks(self.pages[i]) for _, i in found)


def marks(state: Mapping[str, Any]) -> str:
    """The bits of a page in memory; see `pymem.teaching.linux.MARKS`."""
    bits = (
        ("*", "accessed"), ("r", "referenced"), ("w", "workingset"), ("d", "dirty"), ("s", "swapcache"),
        ("W", "writeback"),
    )  # fmt: skip
    return "".join(mark for mark, name in bits if state.get(name) or (mark == "d" and state["pte_dirty"]))


def told(before: Snapshot, after: Snapshot, names: Sequence[str], watermarks: tuple[int, int, int]) -> list[str]:
    """What happened in between, one line each: first who works, then what became of which page."""
    out = []
    for event in after.log[len(before.log) :]:
        kind = int(event["kind"])
        if kind == _KSWAPD_WAKE:
            out.append(f"kswapd wakes: free memory fell below low ({watermarks[1]})")
        elif kind == _KSWAPD_SLEEP:
            out.append(f"kswapd sleeps: {after.free} pages are free, high is {watermarks[2]}")
        elif kind == _DIRECT_BEGIN:
            out.append(f"direct reclaim begins: not even min ({watermarks[0]}) is free, the program has to help itself")
        elif kind == _DIRECT_END:
            out.append("direct reclaim ends")
    changed = [
        (s["place"] if s["lru"] >= 0 else t["place"], i)
        for i, (s, t) in enumerate(zip(before.pages, after.pages, strict=True))
        if s != t
    ]
    # From the tail on, as reclaim goes.
    for _, i in sorted(changed, reverse=True):
        line = _change(before.pages[i], after.pages[i], before, after)
        if line:
            out.append(f"{names[i]}: {line}")
    return out


def _change(s: Mapping[str, Any], t: Mapping[str, Any], before: Snapshot, after: Snapshot) -> str:
    if s["where"] != "memory" and t["where"] == "memory":
        return _arrival(s, t, before, after)
    if s["where"] == "memory" and t["where"] != "memory":
        return _departure(s, t)
    if t["where"] != "memory":
        return ""
    parts = []
    if s["active"] != t["active"]:
        parts.append(_move(s, t))
    elif s["accessed"] and not t["accessed"] and t["mapped"]:
        parts.append("kept: accessed since the last look; this bit is cleared, referenced set, to the head of its list")
    elif s["lru"] != t["lru"] and not s["isolated"] and not t["isolated"]:
        parts.append(f"put on {_list(t)}")
    if not s["swapcache"] and t["swapcache"]:
        parts.append(f"not accessed since the last look: gets swap slot {t['slot']}")
    if s["swapcache"] and not t["swapcache"]:
        parts.append(f"gives swap slot {s['slot']} back: it was written to, or swap is scarce")
    if s["mapped"] and not t["mapped"]:
        parts.append("unmapped")
    if not s["writeback"] and t["writeback"]:
        parts.append("write begins")
    if s["writeback"] and not t["writeback"]:
        # A page that reclaim holds in its hands at this moment is on no list that could be turned.
        rotated = s["reclaim"] and not s["isolated"] and not t["isolated"]
        parts.append("written" + (", to the tail of its list, so that it is the next to be freed" if rotated else ""))
    if not s["mapped"] and t["mapped"]:
        parts.append("mapped again")
    return "; ".join(parts)


def _list(state: Mapping[str, Any]) -> str:
    return LISTS[state["lru"]] if 0 <= state["lru"] < len(LISTS) else "no list"


def _move(s: Mapping[str, Any], t: Mapping[str, Any]) -> str:
    kind = "anon" if (s["lru"] if s["lru"] >= 0 else t["lru"]) in (0, 1) else "file"
    if t["active"]:
        if s["writeback"]:
            return f"set aside on active_{kind}: reclaim meets it, but its write is not over"
        why = "accessed again, and referenced was set" if s["referenced"] else "in use"
        return f"promoted to active_{kind}: {why}"
    used = ", although accessed" if s["accessed"] else ""
    return f"demoted to inactive_{kind}, which is too short{used}"


def _arrival(s: Mapping[str, Any], t: Mapping[str, Any], before: Snapshot, after: Snapshot) -> str:
    where = {"nowhere": "first touch, a new page", "zero": "first store, a new page", "swap": "is read from swap",
             "disk": "is read from the file"}[s["where"]]  # fmt: skip
    line = f"{where}, to the head of {_list(t)}" if t["lru"] >= 0 else where
    kind = "anon" if t["lru"] in (0, 1) else "file"
    activated = f"workingset_activate_{kind}"
    if s["shadow"] is not None and t["lru"] >= 0:
        if after.stats[activated] > before.stats[activated]:
            line += "; the other lists could have made room for it, so it is active at once"
        else:
            line += "; the other lists could not have made room for it, so it is not active"
        restored = f"workingset_restore_{kind}"
        if after.stats[restored] > before.stats[restored]:
            line += ", and working set as before"
    return line


def _departure(s: Mapping[str, Any], t: Mapping[str, Any]) -> str:
    if t["where"] == "swap":
        how = f"freed, swap slot {t['slot']} has it"
    elif t["where"] == "disk":
        how = "freed, the file has it"
    else:
        return "freed"
    reason = ""
    if s["mapped"]:
        reason = "met twice, accessed at first, then not: " if s["accessed"] else "not accessed since the last look: "
    age = "" if t["shadow"] is None else f"; its shadow remembers age {t['shadow'][0]}"
    return f"{reason}{how}{age}"
