"""Figures for papers: `Result.plot`, drawn with matplotlib, of a column's width, for grey printers too.

Every method draws into the axes it is given, or into a new figure, and returns the axes; `save` writes all of them as
vector files. Needs matplotlib: ``pip install 'pymem-sim[plot]'``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pymem.errors import PymemError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from pymem.result import Result

MIB = 4096 / 2**20  # MiB of a page
STYLE: dict[str, Any] = {
    "figure.figsize": (3.5, 2.2), "font.size": 8, "axes.spines.top": False, "axes.spines.right": False,
    "legend.frameon": False, "legend.fontsize": 7, "lines.linewidth": 1.0, "svg.fonttype": "none", "pdf.fonttype": 42,
    "svg.hashsalt": "pymem",  # the same ids in every run
    "figure.constrained_layout.use": True,
}  # fmt: skip
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#a5458c", "#8a6d00", "#56606b")  # distinct for the colour-blind
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))
KINDS = {
    "kernel and slab": (("nr_kernel_pinned", "nr_slab_reclaimable", "nr_slab_unreclaimable", "nr_page_table_pages"),
                        "#77828d"),
    "anonymous, active": (("nr_active_anon",), "#c04a00"),
    "anonymous, inactive": (("nr_inactive_anon", "nr_isolated_anon"), "#f2a76b"),
    "file, active": (("nr_active_file",), "#005f94"),
    "file, inactive": (("nr_inactive_file", "nr_isolated_file"), "#7dbce4"),
    "unevictable": (("nr_unevictable",), "#3d4650"),
    "free": (("nr_free_pages",), "#e3e8ec"),
}  # fmt: skip
FIGURES = ("memory", "free", "reclaim", "swap", "faults", "psi", "latency", "stalls")
FORMATS = ("pdf", "svg", "eps", "ps", "png")


class Plots:
    """The figures of one result; `Result.plot` is one."""

    def __init__(self, result: Result) -> None:
        self._result = result

    def memory(self, ax: Axes | None = None) -> Axes:
        """Memory by kind over time, stacked, in MiB."""
        ax, time = self._axes(ax, "memory (MiB)"), self._time()
        parts = {
            name: (MIB * sum((self._level(c) for c in columns), np.zeros(len(time))), colour)
            for name, (columns, colour) in KINDS.items()
        }
        parts = {name: part for name, part in parts.items() if part[0].any()}
        values, colours = [v for v, _ in parts.values()], [c for _, c in parts.values()]
        ax.stackplot(time, values, labels=list(parts), colors=colours, linewidth=0)
        return self._finish(ax)

    def free(self, ax: Axes | None = None) -> Axes:
        """Free memory and the watermarks of all zones together, in MiB, up to four times the high watermark."""
        ax, zones = self._axes(ax, "free memory (MiB)"), self._result.zones
        ax.plot(self._time(), MIB * self._level("nr_free_pages"), color=COLOURS[0], label="free")
        for i, name in enumerate(("min", "low", "high")):
            mark = MIB * sum(zone[name] for zone in zones)
            ax.axhline(mark, color="#57606a", linewidth=0.7, linestyle=DASHES[1 + i], label=name)
        ax.set_ylim(0, 4 * MIB * sum(zone["high"] for zone in zones) or None)
        return self._finish(ax)

    def reclaim(self, ax: Axes | None = None) -> Axes:
        """Pages scanned and freed, by kswapd and by tasks, in MiB/s."""
        names = {"pgscan_kswapd": "scanned by kswapd", "pgsteal_kswapd": "freed by kswapd",
                 "pgscan_direct": "scanned by tasks", "pgsteal_direct": "freed by tasks"}  # fmt: skip
        return self._rates(ax, "reclaim (MiB/s)", names, MIB)

    def swap(self, ax: Axes | None = None) -> Axes:
        """Swap traffic in MiB/s."""
        names = {"pswpin": "in", "pswpout": "out", "zswpin": "from zswap", "zswpout": "into zswap"}
        return self._rates(ax, "swap traffic (MiB/s)", names, MIB)

    def faults(self, ax: Axes | None = None) -> Axes:
        """Page faults and those that waited for a device, per second, on a logarithmic axis from 1."""
        ax = self._rates(ax, "faults (1/s)", {"pgfault": "all", "pgmajfault": "major"}, 1)
        ax.set_yscale("symlog", linthresh=1)
        return ax

    def psi(self, ax: Axes | None = None) -> Axes:
        """Pressure: the share of time in which some task or all of them waited, in percent."""
        names = {"psi_memory_some": "memory, some", "psi_memory_full": "memory, all", "psi_io_some": "I/O, some",
                 "psi_cpu_some": "CPU, some"}  # fmt: skip
        return self._rates(ax, "pressure (%)", names, 100 / 1e9)

    def latency(self, ax: Axes | None = None) -> Axes:
        """What share of accesses took at least so long, by kind, all tasks together; both axes logarithmic."""
        ax = self._axes(ax, "share that took as long", "time (µs)")
        tasks = self._result.tasks.values()
        kinds = dict.fromkeys(kind for task in tasks for kind, h in task.latency.items() if h.count)
        for i, kind in enumerate(kinds):
            counts = np.add.reduce([task.latency[kind].counts for task in tasks]).astype(np.float64)
            share = np.cumsum(counts[::-1])[::-1] / counts.sum()
            lower = next(iter(tasks)).latency[kind].lower_ns / 1e3
            shown = (counts > 0) & (lower > 0)
            ax.step(lower[shown], share[shown], where="pre", color=COLOURS[i % 6], linestyle=DASHES[i % 6],
                    marker="." if shown.sum() == 1 else None, label=kind.replace("_", " "))  # fmt: skip
        if ax.lines:
            ax.set_xscale("log")
            ax.set_yscale("log")
        return self._finish(ax)

    def stalls(self, ax: Axes | None = None) -> Axes:
        """What each task waited for, in seconds, as horizontal bars."""
        ax = self._axes(ax, "", "time waited (s)")
        tasks = self._result.tasks
        causes = dict.fromkeys(cause for task in tasks.values() for cause, ns in task.stalls.items() if ns)
        left = np.zeros(len(tasks))
        for i, cause in enumerate(causes):
            width = np.array([task.stalls[cause] / 1e9 for task in tasks.values()])
            ax.barh(list(tasks), width, left=left, color=COLOURS[i % 6], label=cause.replace("_", " "),
                    hatch="//" if i >= len(COLOURS) else None)  # fmt: skip
            left += width
        ax.invert_yaxis()
        return self._finish(ax)

    def save(self, folder: str | Path, form: str = "pdf") -> list[Path]:
        """Write every figure of `FIGURES` into a folder, which is made if it is missing; vector files by default.

        Figures over time are left out where the result has no time line.

        Raises
        ------
        PymemError
            An unknown format, or a place that cannot be written.
        """
        import matplotlib.pyplot as plt

        from pymem.files import replacing

        if form not in FORMATS:
            raise PymemError(f"format {form!r}: accepted are {', '.join(FORMATS)}")
        place, written = Path(folder), []
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PymemError(f"{place}: cannot be written: {error.strerror}") from None
        for name in FIGURES if len(self._result.timeline) > 1 else FIGURES[-2:]:
            with plt.rc_context(STYLE):
                figure = getattr(self, name)().figure
                try:
                    with replacing(place / f"{name}.{form}") as fresh:
                        # Without a date the same result gives the same file.
                        figure.savefig(fresh, dpi=300, metadata=_UNDATED.get(form))
                finally:
                    plt.close(figure)
            written.append(place / f"{name}.{form}")
        return written

    # ---- what the figures share ----

    def _axes(self, ax: Axes | None, y: str, x: str = "simulated time (s)") -> Axes:
        if ax is None:
            try:
                import matplotlib.pyplot as plt
            except ImportError:
                raise PymemError("figures need matplotlib; pip install 'pymem-sim[plot]'") from None
            with plt.rc_context(STYLE):
                ax = plt.subplots()[1]
        ax.set_xlabel(x)
        ax.set_ylabel(y)
        return ax

    @staticmethod
    def _finish(ax: Axes) -> Axes:
        """A legend above the axes, where it hides nothing."""
        count = len(ax.get_legend_handles_labels()[0])
        if count:
            ax.legend(
                loc="lower left", bbox_to_anchor=(0, 1), ncols=2 if count in (2, 4) else 3, frameon=False, fontsize=6.5,
                borderpad=0, columnspacing=1, handlelength=1.6,
            )  # fmt: skip
        return ax

    def _rows(self) -> NDArray[np.int64]:
        """Rows of the time line without those that have the time of the next one."""
        times = self._result.timeline["time_ns"]
        return np.flatnonzero(np.append(np.diff(times) > 0, True)) if len(times) else np.zeros(0, np.int64)

    def _time(self) -> NDArray[np.float64]:
        return np.asarray(self._result.timeline["time_ns"][self._rows()] / 1e9)

    def _level(self, name: str) -> NDArray[np.float64]:
        columns = self._result.timeline.columns
        rows = self._rows()
        return columns[name][rows].astype(np.float64) if name in columns else np.zeros(len(rows))

    def _rates(self, ax: Axes | None, y: str, names: dict[str, str], factor: float) -> Axes:
        """Growth of counters per second, as steps between the samples."""
        ax, time = self._axes(ax, y), self._time()
        for i, (name, label) in enumerate(names.items()):
            rate = factor * np.diff(self._level(name)) / np.diff(time)
            if rate.any() or not i:
                ax.stairs(rate, time, color=COLOURS[i], linestyle=DASHES[i], label=label)
        ax.set_ylim(bottom=0)
        return self._finish(ax)


_UNDATED: dict[str, dict[str, None]] = {
    "pdf": {"CreationDate": None}, "svg": {"Date": None}
}  # fmt: skip
