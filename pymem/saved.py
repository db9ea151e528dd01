"""Results read back from the folders that `Result.save` writes."""

from __future__ import annotations

import csv
import json
import math
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from memcore import engine as door
from pymem.errors import PymemError
from pymem.result import HISTOGRAMS, MARK, Latency, OomKill, Result, TaskResult, Timeline, bucket_edges

if TYPE_CHECKING:
    from numpy.typing import NDArray

BUCKETS = 320
EVENT = np.dtype([("time", "i8"), ("kind", "i4"), ("who", "i4"), ("value", "i8")])
NEEDED = {
    "zones": "node idx managed present free min low high lru stat", "swap": "total free areas",
    "devices": "reads writes read_pages write_pages busy_ns",
}  # fmt: skip
PERCENTILES = (50, 90, 99, 99.9)


def load_result(folder: str | Path) -> Result:
    """Read a result that `Result.save` or ``pymem run --out`` wrote.

    Only ``result.json`` has to be there. Without the other files the time line and the events are empty, and the
    histograms of latency are rebuilt from the percentiles in ``result.json``, which they then reproduce.

    Parameters
    ----------
    folder : str or path

    Raises
    ------
    PymemError
        No result there, or a file that is damaged; the message names it.
    """
    place = Path(folder)
    document = read_document(place)
    try:
        return _result(document, place)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        why = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise PymemError(f"{place / MARK}: is not a result of this version of pymem ({why})") from None


def read_document(folder: Path) -> Any:
    """What is in the ``result.json`` of a folder, whatever it is; PymemError if it cannot be read."""
    path = folder / MARK
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PymemError(
            f"{folder}: holds no result ({MARK} is missing); accepted is a folder of pymem run --out"
        ) from None
    except OSError as error:
        raise PymemError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise PymemError(f"{path}: is damaged ({error})") from None


def _check(document: dict[str, Any]) -> None:
    """KeyError or TypeError for a part that lacks what every reader of results relies on."""
    for part, keys in NEEDED.items():
        rows = document[part] if isinstance(document[part], list) else [document[part]]
        for row in rows:
            for key in keys.split():
                row[key]
    for kind in ("memory_some", "memory_full", "io_some", "io_full", "cpu_some"):
        document["psi"][kind]["total"] + 0
    sum(document["vmstat"].values()) + sum(document["meminfo"].values())


def _result(document: dict[str, Any], place: Path) -> Result:
    _check(document)
    kinds = [kind for kind in door.LATENCY_KINDS if kind != "hit"]
    histograms = _histograms(place / HISTOGRAMS)
    known = {f.name for f in fields(TaskResult)}
    tasks = {}
    for name, row in document["tasks"].items():
        latency = {}
        for kind in kinds:
            saved = row["latency"][kind]
            counts = histograms.get((name, kind)) if histograms is not None else _rebuilt(saved)
            counts = np.zeros(BUCKETS, np.uint64) if counts is None else counts
            latency[kind] = Latency(counts, bucket_edges(BUCKETS), saved["total_ns"])
        values = {key: value for key, value in row.items() if key in known and key != "latency"}
        values["stalls"] = {**dict.fromkeys(door.STALL_CAUSES, 0), **row["stalls"]}
        tasks[name] = TaskResult(**values, latency=latency)
    kills = [
        OomKill(**{**kill, "scores": {n: -math.inf if s is None else s for n, s in kill["scores"].items()}})
        for kill in document["oom_kills"]
    ]
    same = {f.name for f in fields(Result)} & document.keys() - {"tasks", "oom_kills"}
    return Result(
        **{name: document[name] for name in same}, tasks=tasks, oom_kills=kills, timeline=_timeline(place),
        events=_events(place / "events.csv"), event_kinds=list(door.EVENT_KINDS),
    )  # fmt: skip


def _timeline(place: Path) -> Timeline:
    path = place / "timeline.npz"
    if not path.exists():
        return Timeline({name: np.zeros(0, np.int64) for name in door.SAMPLE_COLUMNS})
    try:
        with np.load(path, allow_pickle=False) as arrays:
            columns = {name: np.asarray(arrays[name], np.int64) for name in arrays.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise PymemError(f"{path}: is damaged ({error})") from None
    lengths = {array.shape for array in columns.values()}
    if len(lengths) != 1 or "time_ns" not in columns or columns["time_ns"].ndim != 1:
        raise PymemError(f"{path}: is damaged (columns of different lengths, or no time_ns)")
    return Timeline(columns)


def _rows(path: Path, head: list[str]) -> list[list[str]]:
    """The rows of a CSV file below its head; each as long as the head."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    if not rows or rows[0] != head:
        raise PymemError(f"{path}: is damaged; its first line has to be {','.join(head)}")
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(head):
            raise PymemError(f"{path}, line {number}: {len(row)} fields; there have to be {len(head)}")
    return rows[1:]


def _events(path: Path) -> NDArray[Any]:
    if not path.exists():
        return np.zeros(0, EVENT)
    number = {kind: i for i, kind in enumerate(door.EVENT_KINDS)}
    try:
        rows = _rows(path, ["time_ns", "event", "who", "value"])
        return np.array([(int(t), number[kind], int(who), int(value)) for t, kind, who, value in rows], EVENT)
    except (KeyError, ValueError, OverflowError) as error:
        raise PymemError(f"{path}: is damaged ({error})") from None


def _histograms(path: Path) -> dict[tuple[str, str], NDArray[np.uint64]] | None:
    """By task and kind; None where the file is missing."""
    if not path.exists():
        return None
    bucket = {int(edge): i for i, edge in enumerate(bucket_edges(BUCKETS))}
    out: dict[tuple[str, str], NDArray[np.uint64]] = {}
    try:
        for task, kind, lower, count in _rows(path, ["task", "kind", "lower_ns", "count"]):
            out.setdefault((task, kind), np.zeros(BUCKETS, np.uint64))[bucket[int(lower)]] = int(count)
    except (KeyError, ValueError, OverflowError) as error:
        raise PymemError(f"{path}: is damaged ({error})") from None
    return out


def _rebuilt(saved: dict[str, int]) -> NDArray[np.uint64]:
    """The coarsest histogram with these percentiles: each bucket among them holds what it must."""
    edges = bucket_edges(BUCKETS)
    counts = np.zeros(BUCKETS, np.uint64)
    placed = 0
    for p in PERCENTILES:
        reached = saved["count"] if p == PERCENTILES[-1] else math.ceil(saved["count"] * p / 100)
        counts[np.searchsorted(edges, saved[f"p{p:g}_ns"])] += reached - placed
        placed = reached
    return counts
