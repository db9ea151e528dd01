"""Where the results of many runs lie: one SQLite file that survives the end of the program at any moment.

A run is written in one transaction when it has ended, in write-ahead mode: it is there whole or not at all.  What is
there is never run again.  One program at a time writes; others may read meanwhile.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pymem.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

FORMAT = 1
FILE = "sweep.sqlite"
_SUFFIXES = (".sqlite", ".sqlite3", ".db")
_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE points (point INTEGER PRIMARY KEY, settings TEXT NOT NULL);
CREATE TABLE runs (
    point INTEGER NOT NULL, replicate INTEGER NOT NULL, seed TEXT NOT NULL, status TEXT NOT NULL,
    error TEXT NOT NULL, changed TEXT NOT NULL, outcome TEXT NOT NULL, host_seconds REAL NOT NULL,
    finished REAL NOT NULL, PRIMARY KEY (point, replicate)
) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Run:
    """One run that has ended.

    Attributes
    ----------
    point, replicate, seed : int
    status : str
        As of a result, or ``"failed"``.
    error : str
        Why it failed, or empty.
    outcome : dict of float
        Measures by name; empty if it failed.
    changed : dict
        Settings that follow from those of the point and differ from the base scenario.
    host_seconds : float
    """

    point: int
    replicate: int
    seed: int
    status: str
    error: str = ""
    outcome: dict[str, float] = field(default_factory=dict)
    changed: dict[str, Any] = field(default_factory=dict)
    host_seconds: float = 0.0


def place_of(path: str | Path) -> Path:
    """The file of a store: `path` itself if it is a file or called like one, otherwise ``sweep.sqlite`` in it."""
    path = Path(path)
    return path if path.suffix in _SUFFIXES or path.is_file() else path / FILE


class Store:
    """Results by point and replicate.

    Parameters
    ----------
    path : str or Path, optional
        A file ending in .sqlite, .sqlite3 or .db, or a folder; None: in memory.
    write : bool
        False: only to look at.

    Raises
    ------
    StoreError
        Cannot be written or read, is none, or another program is writing to it.
    """

    def __init__(self, path: str | Path | None = None, write: bool = True) -> None:
        self.path = None if path is None else place_of(path)
        self._lock: int | None = None
        try:
            self._db = self._open(write)
            try:
                self._prepare(write)
            except BaseException:
                self._db.close()
                raise
        except (sqlite3.Error, OSError) as error:
            self._give_up()
            reason = error.strerror if isinstance(error, OSError) else str(error)
            action = "written" if write else "read"
            raise StoreError(f"{self.path}: cannot be {action} as a store of results: {reason}") from None
        except StoreError:
            self._give_up()
            raise

    def _open(self, write: bool) -> sqlite3.Connection:
        if self.path is None:
            return sqlite3.connect(":memory:", isolation_level=None)
        if not write:
            if not self.path.is_file():
                raise StoreError(f"{self.path}: no such file; accepted is the --store of an earlier sweep")
            return sqlite3.connect(f"{self.path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        return sqlite3.connect(self.path, isolation_level=None)

    def _take_lock(self) -> None:
        """A lock of its own file: the kernel drops it when the program ends, however it ends."""
        handle = os.open(self._lock_path(), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            raise StoreError(f"{self.path}: another program is writing to it; accepted is another place") from None
        self._lock = handle

    def _lock_path(self) -> Path:
        assert self.path is not None
        return self.path.with_name(self.path.name + ".lock")

    def _give_up(self) -> None:
        """Leave nothing beside a file that turned out to be something else."""
        if self._lock is not None:
            self._lock_path().unlink(missing_ok=True)
            self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _prepare(self, write: bool) -> None:
        tables = {name for (name,) in self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if tables and (not {"meta", "points", "runs"} <= tables or self.meta("format") != FORMAT):
            raise StoreError(f"{self.path}: is no store of results that this version of pymem understands")
        if write:
            # NORMAL: safe against the end of the program; a power cut may take the last runs, which then run again.
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
        if write and not tables:
            self._db.execute("BEGIN IMMEDIATE")
            for statement in _TABLES.split(";\n"):
                if statement.strip():
                    self._db.execute(statement)
            self._db.execute("INSERT INTO meta VALUES ('format', ?)", (str(FORMAT),))
            self._db.execute("COMMIT")
        elif not tables:
            raise StoreError(f"{self.path}: holds no results yet")

    def close(self) -> None:
        """Give the file back to others, where nobody reads it as one plain file."""
        if self._lock is not None:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("PRAGMA journal_mode=DELETE")
        self._db.close()
        self._unlock()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def meta(self, key: str) -> Any:
        """What `identify` has put down, None if there is nothing."""
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    def identify(self, identity: Mapping[str, Any], **facts: Any) -> None:
        """Put down what this store is of; refuse a store of something else.

        Parameters
        ----------
        identity : mapping
            By a name for people; everything that the results depend on.
        **facts
            What else readers want to know.

        Raises
        ------
        StoreError
            The store was begun with another identity; the message says what differs.
        """
        wanted = json.loads(json.dumps(identity))
        found = self.meta("identity")
        if found is None:
            self._db.execute("BEGIN IMMEDIATE")
            for key, value in {"identity": wanted, **facts}.items():
                self._db.execute("INSERT INTO meta VALUES (?, ?)", (key, json.dumps(value)))
            self._db.execute("COMMIT")
        elif found != wanted:
            differing = [key for key in {**found, **wanted} if found.get(key) != wanted.get(key)]
            raise StoreError(
                f"{self.path}: belongs to another sweep (it differs in: {', '.join(differing)}); name another place, "
                "or ask for the same"
            )

    def add_points(self, points: Iterable[tuple[int, Mapping[str, Any]]]) -> None:
        """Put down the settings of points; those that are there must be the same."""
        found = self.points()
        fresh = []
        for point, settings in points:
            if point not in found:
                fresh.append((point, json.dumps(settings)))
            elif found[point] != json.loads(json.dumps(settings)):
                raise StoreError(f"{self.path}: point {point} has other settings; name another place")
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany("INSERT INTO points VALUES (?, ?)", fresh)
        self._db.execute("COMMIT")

    def points(self) -> dict[int, dict[str, Any]]:
        """Settings by number of point."""
        rows = self._db.execute("SELECT point, settings FROM points ORDER BY point")
        return {point: json.loads(settings) for point, settings in rows}

    def add(self, run: Run) -> None:
        """Put down a run that has ended; durable when this returns. A run that is there raises StoreError."""
        row = (
            run.point, run.replicate, str(run.seed), run.status, run.error, json.dumps(run.changed),
            json.dumps(run.outcome), run.host_seconds, time.time(),
        )  # fmt: skip
        try:
            self._db.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        except sqlite3.IntegrityError:
            raise StoreError(f"{self.path}: point {run.point}, replicate {run.replicate} is there already") from None
        except sqlite3.Error as error:  # a full disk, for example
            raise StoreError(f"{self.path}: cannot be written: {error}") from None

    def forget_failed(self) -> int:
        """Remove failed runs, so that they run again; how many there were."""
        return self._db.execute("DELETE FROM runs WHERE status = 'failed'").rowcount

    def done(self) -> set[tuple[int, int]]:
        """Point and replicate of every run that is there."""
        return set(self._db.execute("SELECT point, replicate FROM runs"))

    def runs(self) -> Iterator[Run]:
        """All runs by point and replicate."""
        rows = self._db.execute(
            "SELECT point, replicate, seed, status, error, outcome, changed, host_seconds FROM runs "
            "ORDER BY point, replicate"
        )
        for point, replicate, seed, status, error, outcome, changed, seconds in rows:
            yield Run(point, replicate, int(seed), status, error, json.loads(outcome), json.loads(changed), seconds)
