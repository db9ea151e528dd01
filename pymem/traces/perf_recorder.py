"""Recording page faults with ``perf``: the program runs at nearly its own speed, and only first touches are seen.

A page that is mapped already faults no more, so a recording tells footprint and order of first use, not reuse; memory
that runs short while recording makes pages fault again.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pymem.errors import TraceError

from .importer import import_trace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .model import TraceInfo

#: The tracepoints tell loads from stores; the software event is allowed to more users.
TRACEPOINTS, SOFTWARE = "exceptions:page_fault_user,exceptions:page_fault_kernel", "page-faults:u"
_FIELDS = {TRACEPOINTS: "comm,pid,tid,time,event,trace", SOFTWARE: "comm,pid,tid,time,event,addr,ip"}


def record_faults(
    command: Sequence[str], out: str | Path, *, directory: str | Path = ".", compression: str = "lzma",
    env: Mapping[str, str] | None = None, progress: Callable[[int], None] | None = None,
) -> TraceInfo:  # fmt: skip
    """Run a program under ``perf record`` and leave the page faults of all its processes in `out`.

    Parameters
    ----------
    command : sequence of str
        Program and arguments; the program is looked up in the path.
    directory : str or Path
        Where the program runs.
    env : mapping, optional
        Environment of the program.
    progress : callable, optional
        Gets the number of faults read so far, once the program has ended.

    Raises
    ------
    TraceError
        No perf, no such program, perf may not look at page faults, or the program ended with an error; no file is left
        then.
    """
    perf = shutil.which("perf")
    if perf is None:
        raise TraceError("perf is not installed; on Debian: apt-get install linux-perf")
    program = shutil.which(command[0])
    if program is None:
        raise TraceError(f"{command[0]}: no such program")
    with tempfile.TemporaryDirectory(prefix="pymem-perf-") as folder:
        data, text = Path(folder, "perf.data"), Path(folder, f"{Path(program).name}.txt")
        event = _allowed(perf, Path(folder, "try.data"))
        process = subprocess.Popen(
            [perf, "record", "-q", "-e", event, "-c", "1", "-d", "-o", str(data), "--", program, *command[1:]],
            cwd=directory, env=None if env is None else dict(env), stdin=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            code = process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        if code:
            raise TraceError(f"{' '.join(command)}: ended with exit code {code}; no trace is left")
        with text.open("wb") as file:
            script = subprocess.run(
                [perf, "script", "-i", str(data), "-F", _FIELDS[event]],
                stdout=file, stderr=subprocess.PIPE, check=False, text=True,
            )  # fmt: skip
        if script.returncode:
            raise TraceError(f"perf script: {_last_line(script.stderr)}")
        info, _ = import_trace(
            text, out, form="perf", compression=compression, progress=progress,
            provenance={"command": list(command), "event": event},
        )  # fmt: skip
        return info


def _allowed(perf: str, data: Path) -> str:
    """The event that this user may record."""
    why = ""
    for event in (TRACEPOINTS, SOFTWARE):
        tried = subprocess.run(
            [perf, "record", "-q", "-e", event, "-c", "1", "-d", "-o", str(data), "--", "true"],
            capture_output=True, check=False, text=True,
        )  # fmt: skip
        if tried.returncode == 0:
            return event
        why = _last_line(tried.stderr)
    raise TraceError(f"perf may not record page faults here ({why}); see /proc/sys/kernel/perf_event_paranoid")


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no message")
