"""The time line as a stream of lines, one per interval of simulated time, in the manner of ``vmstat 1``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from pymem.errors import ScenarioError
from pymem.units import format_time

if TYPE_CHECKING:
    from numpy.typing import NDArray

KIB_PER_PAGE = 4
MISSING = "the result has no time line"

#: Title, width, and where it comes from: a level in pages (shown in KiB), or a counter with its factor (per second).
LEVELS = {"free": ("nr_free_pages",), "anon": ("nr_active_anon", "nr_inactive_anon"),
          "cache": ("nr_active_file", "nr_inactive_file")}  # fmt: skip
RATES = {
    "si": (("pswpin",), KIB_PER_PAGE), "so": (("pswpout",), KIB_PER_PAGE), "bi": (("pgpgin",), 1),
    "bo": (("pgpgout",), 1), "minflt": (("pgfault",), 1), "majflt": (("pgmajfault",), 1),
    "scank": (("pgscan_kswapd",), 1), "scand": (("pgscan_direct",), 1),
    "steal": (("pgsteal_kswapd", "pgsteal_direct"), 1),
}  # fmt: skip
PRESSURE = {"some": "psi_memory_some", "full": "psi_memory_full"}
WIDTHS = {"time": 10, "swpd": 9, **dict.fromkeys(LEVELS, 9), **dict.fromkeys(RATES, 8), **dict.fromkeys(PRESSURE, 4)}


def header() -> str:
    """The names of the columns."""
    return " ".join(f"{name:>{width}}" for name, width in WIDTHS.items())


class Stream:
    """Lines for rows that come in one after another.

    Parameters
    ----------
    swap_total : int
        Swap slots of the machine.
    interval_ns : int
        Simulated time between two lines; a line is as late as the first row after it.
    """

    def __init__(self, swap_total: int, interval_ns: int) -> None:
        self._swap = swap_total
        self._interval = interval_ns
        self._before: dict[str, int] | None = None
        self._due = interval_ns
        self._last: dict[str, int] | None = None

    def feed(self, rows: Mapping[str, NDArray[np.int64]]) -> Iterator[str]:
        """The lines that are due with these rows: columns of the time line, later than those before."""
        times = rows["time_ns"]
        if not len(times):
            return
        row = int(np.searchsorted(times, self._due))
        while row < len(times):
            yield self._line(self._row(rows, row))
            self._due = (int(times[row]) // self._interval + 1) * self._interval
            row = int(np.searchsorted(times, self._due))
        self._last = self._row(rows, -1)

    def close(self) -> Iterator[str]:
        """The line of what came after the last full interval, if anything did."""
        if self._last is not None and (self._before is None or self._last["time_ns"] > self._before["time_ns"]):
            yield self._line(self._last)

    @staticmethod
    def _row(rows: Mapping[str, NDArray[np.int64]], at: int) -> dict[str, int]:
        return {name: int(column[at]) for name, column in rows.items()}

    def _line(self, now: dict[str, int]) -> str:
        before = self._before or dict.fromkeys(now, 0)
        self._before = now
        seconds = max(now["time_ns"] - before["time_ns"], 1) / 1e9

        def grown(*names: str) -> int:
            return sum(now[name] - before[name] for name in names)

        majors = grown("pgmajfault") / seconds
        values = {
            "time": f"{now['time_ns'] / 1e9:.3f}",
            "swpd": (self._swap - now["swap_free"]) * KIB_PER_PAGE if self._swap else 0,
            **{title: KIB_PER_PAGE * sum(now[name] for name in names) for title, names in LEVELS.items()},
            **{title: round(grown(*names) * factor / seconds) for title, (names, factor) in RATES.items()},
            **{title: round(100 * grown(name) / 1e9 / seconds) for title, name in PRESSURE.items()},
        }  # fmt: skip
        values["minflt"] = round(grown("pgfault") / seconds - majors)
        return " ".join(f"{values[name]:>{width}}" for name, width in WIDTHS.items())


def check_interval(interval_ns: int, sample_ns: int, option: str) -> None:
    """Raise ScenarioError where lines are asked for more often than the time line has rows."""
    if not sample_ns:
        raise ScenarioError(f"{option}: the scenario has no time line (sample_interval is 0)")
    if interval_ns < sample_ns:
        raise ScenarioError(
            f"{option}: is shorter than sample_interval, {format_time(sample_ns)}; accepted is that and more"
        )
