"""The experiments behind docs/guides: which scenarios are compared, what is shown of them, what they must show.

A guide has one or two tables; each is an `Experiment` below,
made of the parts in `experiment.py`.  `tools/guides` writes the tables into the guides and
`tests/test_guides.py` runs everything again: the pages must say what comes out, and the findings must hold.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from experiment import Experiment, Row, adjusted, count, cpu, deaths, pages, percent, seconds, swap, took, total, waited

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from experiment import Finding, Results

    import pymem

# ---- zram and swappiness above 100 ------------------------------------------------------------------------

SWAPPINESS = (0, 10, 60, 100, 140, 180, 200)


def swappiness_zram(results: Results) -> Iterator[Finding]:
    times = {s: took(results[str(s)], "app") for s in SWAPPINESS}
    yield (
        f"180 takes {percent(1 - times[180] / times[60])} less time than the default of 60, and 10 takes "
        f"{percent(times[10] / times[60] - 1)} more.",
        times[180] < 0.85 * times[60] and times[10] > times[60],
    )
    faster = all(times[a] > times[b] for a, b in pairwise(SWAPPINESS))
    yield (
        "Every step upwards is faster than the one before: a page read from the disk costs far more than one "
        "from zram.",
        faster,
    )
    low, high = results["180"], results["200"]
    yield (
        "200 is a case of its own: files are left alone as long as there is anything to swap. It is fastest "
        f"here, at the price of {percent(cpu(high, 'app') / cpu(low, 'app') - 1)} more CPU time than 180 and "
        f"{total(high, 'allocstall_')} rounds of direct reclaim instead of {total(low, 'allocstall_')}.",
        total(high, "allocstall_") > 10 * total(low, "allocstall_") and cpu(high, "app") > 1.2 * cpu(low, "app"),
    )


def swappiness_hdd(results: Results) -> Iterator[Finding]:
    times = {s: took(results[str(s)], "app") for s in SWAPPINESS}
    yield (
        f"With swap on a hard disk the order turns around: 180 takes {times[180] / times[60]:.1f} times as long "
        f"as 60, and 10 a third of it or less ({times[10]:.0f} s instead of {times[60]:.0f} s).",
        times[180] > 2 * times[60] and times[10] < times[60] / 2.5 and all(
            times[a] < times[b] for a, b in pairwise(SWAPPINESS)
        ),
    )  # fmt: skip


# ---- page-cluster -----------------------------------------------------------------------------------------

CLUSTERED = {"zram": "zram", "zswap before NVMe": "zswap", "NVMe": "nvme", "hard disk": "hdd"}


def page_cluster(results: Results) -> Iterator[Finding]:
    off, on = results["zram, 0"], results["zram, 3"]
    yield (
        "With zram nothing at all changes: the two runs are equal to the last counter, and no page is read ahead.",
        off.vmstat == on.vmstat and off.time_ns == on.time_ns and total(on, "swap_ra") == 0,
    )
    gain = {label: took(results[f"{label}, 0"], "app") / took(results[f"{label}, 3"], "app") for label in CLUSTERED}
    yield (
        f"Behind zswap readahead is alive, and it helps: with 0 the program takes {gain['zswap before NVMe']:.1f} "
        f"times as long as with 3. On the NVMe disk it is {gain['NVMe']:.1f} times, on the hard disk "
        f"{gain['hard disk']:.1f} times.",
        min(gain["zswap before NVMe"], gain["NVMe"], gain["hard disk"]) > 1.2,
    )
    hits = [total(results[f"{label}, 3"], "swap_ra_hit") / total(results[f"{label}, 3"], "swap_ra")
            for label in CLUSTERED if label != "zram"]  # fmt: skip
    yield (
        f"Readahead hardly reads in vain: at least {percent(min(hits), 1)} of its pages are used, although the "
        "last part of the program is random. The kernel watches its hits and stops reading ahead where they stay "
        "away.",
        min(hits) > 0.99,
    )


# ---- watermark_scale_factor -------------------------------------------------------------------------------

SCALES = (10, 50, 100, 200, 500, 1000)


def worst(result: pymem.Result) -> str:
    """How long the accesses took that had to reclaim."""
    latency = result.tasks["service"].latency["direct_reclaim"]
    return f"{latency.percentile(50) / 1e6:.2f} / {latency.percentile(99) / 1e6:.2f} ms" if latency.count else "none"


def idle_free(result: pymem.Result) -> float:
    """Pages that were free on average while the service was there."""
    rows = result.timeline["time_ns"] >= result.tasks["service"].start_ns
    return float(result.timeline["nr_free_pages"][rows].mean())


def bursts(results: Results) -> Iterator[Finding]:
    stalls = [total(results[str(s)], "allocstall_") for s in SCALES]
    yield (
        f"The default of 10 makes the service reclaim for itself {stalls[0]} times; 100 leaves {stalls[2]} of them, "
        f"200 {stalls[3] or 'none'}.",
        stalls[0] > 100 and stalls[2] < stalls[0] / 10 and stalls[3] == 0,
    )
    first, last = results["200"], results["1000"]
    yield (
        f"What it costs: {pages(idle_free(first))} of 1 GiB lie free on average with 200, "
        f"{pages(idle_free(last))} with 1000. That memory is taken from the idle program: "
        f"{total(first, 'pswpout'):,} of its pages were swapped out with 200, {total(last, 'pswpout'):,} with "
        "1000. Beyond 200 the service gains nothing from it.",
        idle_free(last) > 2 * idle_free(first) and total(last, "pswpout") > total(first, "pswpout")
        and abs(took(last, "service") - took(first, "service")) < 0.01,
    )  # fmt: skip


# ---- zram before a disk, or zswap -------------------------------------------------------------------------

TIERS = {
    "zram, then the disk": "zram", "zram with writeback": "writeback", "zswap before the disk": "zswap",
    "disk only": "disk",
}  # fmt: skip


def disk_pages(result: pymem.Result) -> str:
    """Pages read from disks; zram has none of its own."""
    return f"{sum(device['read_pages'] for device in result.devices):,}"


def written_back(result: pymem.Result) -> int:
    """Pages that zswap wrote to the disk because its pool was full."""
    return int(result.swap.get("zswap", {}).get("written_back_pages", 0))


def inversion(results: Results) -> Iterator[Finding]:
    times = {label: took(result, "app") for label, result in results.items()}
    upside_down, zswap, disk = times["zram, then the disk"], times["zswap before the disk"], times["disk only"]
    old = times["zswap, Linux 6.1"]
    yield (
        f"With zram in front the working program takes {upside_down / zswap:.0f} times as long as with zswap: "
        "zram is full of what the idle program left there, and the pages that are needed again go to the disk.",
        upside_down > 4 * zswap,
    )
    yield (
        f"It is even {upside_down / disk:.1f} times slower than without any compression. The cold pages hold "
        "memory that the working program then lacks.",
        upside_down > 1.5 * disk,
    )
    yield (
        f"zswap of Linux 6.1 is no help ({old:.2f} s): its pool fills with the idle pages and then "
        "takes hardly anything more, so that the same inversion comes about.",
        old > 4 * zswap
        and 100 * written_back(results["zswap, Linux 6.1"]) < written_back(results["zswap before the disk"]),
    )
    yield (
        f"zram with a backing device to which idle pages are written is as good as zswap or better "
        f"({times['zram with writeback']:.2f} s), but something has to start that writeback.",
        times["zram with writeback"] < 1.1 * zswap,
    )


# ---- zone_reclaim_mode ------------------------------------------------------------------------------------


def far(task: str) -> Callable[[pymem.Result], str]:
    """Share of the accesses to memory of the other node."""

    def share(result: pymem.Result) -> str:
        row = result.tasks[task]
        return f"{percent(row.remote / max(row.local + row.remote, 1))}"

    return share


def reclaim_database(results: Results) -> Iterator[Finding]:
    reads = {label: result.devices[-1]["read_pages"] for label, result in results.items()}
    slow = took(results["read(), 1"], "database") / took(results["read(), 0"], "database")
    (other,) = [zone for zone in results["read(), 1"].zones if zone["node"] == 1]
    yield (
        f"A database that reads its files with `read()` becomes {slow:.1f} times slower with mode 1, and reads "
        f"{reads['read(), 1'] / reads['read(), 0']:.1f} times as many pages: it throws its own cache away while the "
        "other node lies empty.",
        other["free"] > 0.95 * other["managed"] and slow > 3 and reads["read(), 1"] > 3 * reads["read(), 0"],
    )
    same = results["mapped, 1"].vmstat == results["mapped, 0"].vmstat
    slow = took(results["mapped, 7"], "database") / took(results["mapped, 0"], "database")
    yield (
        "With mapped files mode 1 changes nothing, because it only takes unmapped page cache. Mode 7 may unmap, and is "
        f"{slow:.1f} times slower.",
        same and slow > 3,
    )


def reclaim_partitioned(results: Results) -> Iterator[Finding]:
    gain = took(results["0"], "solver") / took(results["1"], "solver")
    yield (
        f"The other way round: the solver is {gain:.1f} times faster with mode 1, because the node is cleared of "
        "the cache of a copy that nobody will read again, and all its memory is near.",
        gain > 1.3 and results["1"].tasks["solver"].remote == 0,
    )


# ---- sshd and oom_score_adj -------------------------------------------------------------------------------


def who_dies(results: Results) -> Iterator[Finding]:
    victims = {label: [kill.task for kill in result.oom_kills] for label, result in results.items()}
    yield (
        "With nothing set the leak dies, and sshd at −1000 changes nothing: sshd is small, it was never next.",
        victims["nothing"] == victims["sshd −1000"] == ["leak"],
    )
    yield (
        "When the leak has inherited −1000, as a program started from a protected parent does, the database dies "
        "in its place, and then there is nobody left whom the kernel may kill: it panics.",
        victims["sshd −1000, leak −1000"] == ["database", ""],
    )
    yield (
        "With −500 inherited the database dies as well, but the leak can still be killed when it has grown further.",
        victims["sshd −500, leak −500"] == ["database", "leak"],
    )
    yield (
        "If only the program that leaks is protected, everything else goes first, sshd too.",
        victims["leak −1000"] == ["database", "sshd", ""],
    )


def crowd(results: Results) -> Iterator[Finding]:
    first = {label: result.oom_kills[0].task for label, result in results.items()}
    yield (
        "Among many small programs sshd is the largest, and it is the first to die; −500 is as good a protection "
        "as −1000.",
        first["nothing"] == "sshd"
        and all(not any(kill.task == "sshd" for kill in results[f"sshd −{adj}"].oom_kills) for adj in (500, 1000)),
    )


# ---- how much swap ----------------------------------------------------------------------------------------

SIZES = ("0", "32MiB", "64MiB", "96MiB", "128MiB", "256MiB", "1GiB")


def slots(result: pymem.Result) -> float:
    """Most slots that were in use at once."""
    return float(result.swap["total"] - result.timeline["swap_free"].min()) if result.swap["total"] else 0.0


def swap_size(results: Results) -> Iterator[Finding]:
    times = {size: took(result, "app") for size, result in results.items()}
    yield (
        f"Without swap the program takes {times['0'] / times['128MiB']:.1f} times as long as with 128 MiB of it, "
        "although it would never run out of memory: pages it does not need cannot leave, so the files it needs "
        "have to.",
        times["0"] > 2 * times["128MiB"] and not results["0"].oom_kills,
    )
    same = results["128MiB"].vmstat["pgmajfault"]
    yield (
        f"At most {pages(slots(results['1GiB']))} are in use however large it is; from 128 MiB on more swap "
        "changes nothing.",
        all(results[size].vmstat["pgmajfault"] == same for size in ("256MiB", "1GiB")),
    )


AREAS = {"none": swap("0"), **{
    f"{size}, {label}": swap(size, kind) for kind, label in (("nvme", "NVMe"), ("hdd", "hard disk"))
    for size in ("64MiB", "256MiB", "1GiB")
}}  # fmt: skip


def swap_leak(results: Results) -> Iterator[Finding]:
    life = {label: took(result, "leak") for label, result in results.items()}
    yield (
        "Without swap the database dies first: the leak has not outgrown it yet when memory runs out.",
        results["none"].oom_kills[0].task == "database",
    )
    yield (
        f"The more swap, the longer the leak lives: {life['64MiB, NVMe']:.1f} s with 64 MiB, "
        f"{life['1GiB, NVMe']:.1f} s with 1 GiB.",
        life["64MiB, NVMe"] < life["256MiB, NVMe"] < life["1GiB, NVMe"]
        and all([k.task for k in result.oom_kills] == ["leak"] for label, result in results.items() if label != "none"),
    )  # fmt: skip
    waits = waited(results["1GiB, hard disk"], "database", "swap_in")
    yield (
        f"On the NVMe disk the database hardly notices. On a hard disk it waits for its pages for {waits:.0f} of "
        f"{took(results['1GiB, hard disk'], 'database'):.0f} s, and goes on waiting after the leak is dead, "
        "because they come back one by one.",
        waits > 0.8 * took(results["1GiB, hard disk"], "database")
        and waited(results["1GiB, NVMe"], "database", "swap_in") < 0.2 * took(results["1GiB, NVMe"], "database"),
    )  # fmt: skip


# ---- all of them ------------------------------------------------------------------------------------------

_SWAPPINESS_COLUMNS: dict[str, Callable[[pymem.Result], str]] = {
    "time": seconds(took, "app"), "waited for files": seconds(waited, "app", "file_read"),
    "waited for swap": seconds(waited, "app", "swap_in"), "CPU": seconds(cpu, "app"),
    "`pswpin`": count("pswpin"), "file refaults": count("workingset_refault_file"),
}  # fmt: skip

EXPERIMENTS = (
    *(Experiment(
        "zram_swappiness", name, "swappiness", tuple(Row(str(s), name, {"vm.swappiness": s}) for s in SWAPPINESS),
        _SWAPPINESS_COLUMNS, findings,
    ) for name, findings in (("swappiness_zram", swappiness_zram), ("swappiness_hdd", swappiness_hdd))),
    Experiment(
        "page_cluster", "page_cluster", "swap, page-cluster",
        tuple(Row(f"{label}, {c}", f"page_cluster_{kind}", {"vm.page-cluster": c})
              for label, kind in CLUSTERED.items() for c in (0, 3)),
        {"time": seconds(took, "app"), "waited for swap": seconds(waited, "app", "swap_in"),
         "major faults": count("pgmajfault"), "read ahead": count("swap_ra"), "and used": count("swap_ra_hit")},
        page_cluster,
    ),
    Experiment(
        "watermark_bursts", "bursts", "watermark_scale_factor",
        tuple(Row(str(s), "bursts", {"vm.watermark_scale_factor": s}) for s in SCALES),
        {"direct reclaim": count("allocstall_"), "it took, p50 / p99": worst,
         "service stalled": seconds(waited, "service", "direct_reclaim"),
         "free on average": lambda r: pages(idle_free(r)), "`pswpout`": count("pswpout")}, bursts,
    ),
    Experiment(
        "zram_and_disk", "inversion", "swap",
        (*(Row(label, f"inversion_{kind}") for label, kind in TIERS.items()),
         Row("zswap, Linux 6.1", "inversion_zswap", {"kernel": "6.1"})),
        {"time": seconds(took, "app"), "waited for swap": seconds(waited, "app", "swap_in"), "CPU": seconds(cpu, "app"),
         "major faults": count("pgmajfault"), "pages read from disk": disk_pages}, inversion,
    ),
    Experiment(
        "zone_reclaim", "reclaim_database", "files, mode",
        tuple(Row(f"{label}, {mode}", f"zone_reclaim_{name}", {"vm.zone_reclaim_mode": mode})
              for label, name in (("read()", "database"), ("mapped", "mapped")) for mode in (0, 1, 7)),
        {"time": seconds(took, "database"), "pages read from disk": disk_pages,
         "remote hits in mapped memory": far("database"), "`zone_reclaim_success`": count("zone_reclaim_success")},
        reclaim_database,
    ),
    Experiment(
        "zone_reclaim", "reclaim_partitioned", "mode",
        tuple(Row(str(mode), "zone_reclaim_partitioned", {"vm.zone_reclaim_mode": mode}) for mode in (0, 1)),
        {"time of the solver": seconds(took, "solver"), "remote hits": far("solver"),
         "`zone_reclaim_success`": count("zone_reclaim_success")}, reclaim_partitioned,
    ),
    Experiment(
        "sshd", "who_dies", "oom_score_adj",
        (Row("nothing", "sshd"), *(
            Row(", ".join(f"{name} −{-adj}" for name, adj in values.items()), "sshd", change=adjusted(**values))
            for values in (
                {"sshd": -1000}, {"sshd": -1000, "leak": -1000}, {"sshd": -500, "leak": -500}, {"leak": -1000},
            )
        )),
        {"killed, in order": deaths, "the run ends by": lambda r: r.status}, who_dies,
    ),
    Experiment(
        "sshd", "crowd", "oom_score_adj",
        (Row("nothing", "sshd_crowd"),
         *(Row(f"sshd −{-adj}", "sshd_crowd", change=adjusted(sshd=adj)) for adj in (-500, -1000))),
        {"killed, in order": deaths, "sshd": lambda r: r.tasks["sshd"].state}, crowd,
    ),
    Experiment(
        "how_much_swap", "swap_size", "swap", tuple(Row(size, "swap_size", change=swap(size)) for size in SIZES),
        {"time": seconds(took, "app"), "most in use": lambda r: pages(slots(r)),
         "waited for swap": seconds(waited, "app", "swap_in"), "waited for files": seconds(waited, "app", "file_read"),
         "file refaults": count("workingset_refault_file")}, swap_size,
    ),
    Experiment(
        "how_much_swap", "swap_leak", "swap", tuple(Row(label, "swap_leak", change=c) for label, c in AREAS.items()),
        {"killed, in order": deaths, "the leak lived": seconds(took, "leak"),
         "database waited for swap": seconds(waited, "database", "swap_in"),
         "database": lambda r: r.tasks["database"].state}, swap_leak,
    ),
)  # fmt: skip
