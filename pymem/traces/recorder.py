"""Recording: run a program under ``valgrind --tool=lackey`` and leave a native trace.

Lackey prints every instruction fetch, load and store as a line of text, tens of gigabytes for a minute of work;
the text goes through a pipe straight into `convert.LackeyConverter` and is never stored.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pymem.errors import TraceError

from .convert import WINDOW, LackeyConverter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .model import TraceInfo

PIPE_BYTES = 1 << 20


def record(
    command: Sequence[str], out: str | Path, *, task: str | None = None, directory: str | Path = ".",
    window: int = WINDOW, compression: str = "lzma", env: Mapping[str, str] | None = None,
    provenance: Mapping[str, Any] | None = None, progress: Callable[[int, int], None] | None = None,
) -> TraceInfo:  # fmt: skip
    """Run a program and leave its trace in `out`.

    Parameters
    ----------
    command : sequence of str
        Program and arguments; the program is looked up in the path.
    task : str, optional
        Name of the task in the trace; default the name of the program.
    directory : str or Path
        Where the program runs; files below it are named relative to it.
    window : int
        Pages of the filter (see `LackeyParser`).
    env : mapping, optional
        Environment of the program.
    progress : callable, optional
        Gets lines read and records made so far, several times a second.

    Raises
    ------
    TraceError
        No valgrind, no such program, or the program ended with an error; no file is left then.
    """
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise TraceError("valgrind is not installed; on Debian or Ubuntu: apt-get install valgrind")
    program = shutil.which(command[0])
    if program is None:
        raise TraceError(f"{command[0]}: no such program")
    read_end, write_end = os.pipe()
    arguments = [
        valgrind, "--tool=lackey", "--basic-counts=no", "--trace-mem=yes", "--trace-syscalls=yes",
        f"--log-fd={write_end}", program, *command[1:],
    ]  # fmt: skip
    try:
        process = subprocess.Popen(
            arguments, cwd=directory, env=None if env is None else dict(env), pass_fds=[write_end],
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except BaseException:
        os.close(read_end)
        raise
    finally:
        os.close(write_end)
    name = task or Path(program).name
    try:
        with os.fdopen(read_end, "rb", buffering=0) as pipe, LackeyConverter(
            name=f"<lackey of {name}>", window=window, directory=str(directory)
        ) as converter:
            _follow(pipe, converter, progress)
            code = process.wait()
            if code:
                raise TraceError(f"{' '.join(command)}: ended with exit code {code}; no trace is left")
            about = {"command": list(command), **(provenance or {})}
            return converter.finish(out, task=name, provenance=about, compression=compression)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _follow(pipe: Any, converter: LackeyConverter, progress: Callable[[int, int], None] | None) -> None:
    """Feed the text to the converter; take over what is mapped when the program starts."""
    known, pieces = False, 0
    while data := pipe.read(PIPE_BYTES):
        if not known and b"Command: " in data:
            # The program has hardly begun: what is mapped now is what the loader of valgrind mapped.
            pid = int(data.split(b"==", 2)[1])
            maps = Path(f"/proc/{pid}/maps")
            if maps.exists():
                converter.space.read_maps(maps.read_bytes())
            known = True
        converter.feed(data)
        pieces += 1
        if progress is not None and pieces % 256 == 0:
            progress(int(converter.parser.lines), converter.records)
