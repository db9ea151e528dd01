"""`pymem trace`: recordings of what programs did with memory: get, look at, change and hand on."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from pymem.errors import TraceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pymem.traces.model import TraceInfo
    from pymem.traces.store import TraceFile

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, help="Recordings of programs: import, record, look at, change, export.")

Trace = Annotated[str, typer.Argument(help="A trace (.pmt), or builtin:NAME.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="The trace to make.")]
Task = Annotated[str | None, typer.Option(help="Only this task.")]
Compression = Annotated[str, typer.Option(help="lzma (smallest), zlib (much faster) or none (replays fastest).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A trace of another tool, perhaps packed (gz, xz, bz2, zst).")],
    out: Out,
    form: Annotated[
        str | None, typer.Option("--format", help="Format of the file; default is to go by its content.")
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Count and leave out what does not read, instead of giving up.")
    ] = False,
    task: Annotated[str | None, typer.Option(help="Name of the task; default the name of the file.")] = None,
    compression: Compression = "zlib",
    as_json: AsJson = False,
) -> None:
    """Make a trace of another tool's trace; docs/traces.md lists the formats."""
    from pymem.traces.importer import import_trace

    _writable(out)
    with _progress("importing", "accesses") as progress:
        info, source = _reading(
            file, lambda: import_trace(
                file, out, form=form, skip_bad=skip_bad, task=task, compression=compression, progress=progress
            )
        )  # fmt: skip
    for message in source.complaints:
        typer.echo(f"left out: {message}", err=True)
    if source.bad:
        typer.echo(f"{source.bad} lines or records were bad and are left out", err=True)
    _made(info, as_json)


@app.command()
def record(
    command: Annotated[list[str], typer.Argument(help="The program and its arguments, after --.")],
    out: Out,
    window: Annotated[
        int, typer.Option(min=0, max=4096, help="Pages of the filter: exact for LRU memories of at least as many.")
    ] = 64,
    task: Annotated[str | None, typer.Option(help="Name of the task; default that of the program.")] = None,
    directory: Annotated[Path, typer.Option(help="Where the program runs.")] = Path(),
    faults: Annotated[
        bool, typer.Option("--faults", help="Only page faults, by perf: fast, but a page is seen once.")
    ] = False,
    compression: Compression = "lzma",
    as_json: AsJson = False,
) -> None:
    """Run a program under valgrind (or perf) and leave its trace; Ctrl-C leaves none."""
    from pymem.traces.perf_recorder import record_faults
    from pymem.traces.recorder import record as record_program

    _writable(out)
    if not directory.is_dir():
        raise TraceError(f"{directory}: no such folder")
    if faults:
        if task is not None:
            raise TraceError("--task with --faults; accepted is one of them: each process is a task of its own")
        with _progress("reading", "page faults") as progress:
            info = record_faults(command, out, directory=directory, compression=compression, progress=progress)
        _made(info, as_json)
        return
    with _progress("recording", "lines of lackey") as progress:
        info = record_program(
            command, out, task=task, window=window, directory=directory, compression=compression,
            progress=lambda lines, _: progress(lines),
        )  # fmt: skip
    _made(info, as_json)


@app.command()
def info(
    trace: Trace,
    regions: Annotated[bool, typer.Option("--regions", help="List the regions of all tasks.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Read everything and check its SHA-256.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what is in a trace."""
    from pymem.cli import trace_pictures

    with _opened(trace) as opened:
        if verify:
            opened.verify()
        if as_json:
            typer.echo(json.dumps(asdict(opened.info), indent=1))
            return
        console = _console()
        for part in trace_pictures.about(opened.info):
            console.print(part)
        if regions:
            console.print(trace_pictures.regions(opened.info))
        if verify:
            console.print("every record is as it was written")


@app.command()
def head(
    trace: Trace,
    count: Annotated[int, typer.Argument(min=1, help="How many records.")] = 10,
    task: Task = None,
    start: Annotated[int, typer.Option(min=0, help="First record to show.")] = 0,
) -> None:
    """Print records as text: number, operation, page, count, address or place in a file, region."""
    from pymem.traces.references import chosen_tasks

    with _opened(trace) as opened:
        for number in chosen_tasks(opened, task):
            name = opened.info.tasks[number].name
            typer.echo(f"# task {name}: record, operation, page, count, time in ns, place")
            for line in _lines(opened, number, start, count):
                typer.echo(line)


@app.command()
def cut(
    trace: Trace,
    out: Out,
    start: Annotated[int, typer.Option(min=0, help="First record to keep, of each task.")] = 0,
    stop: Annotated[int | None, typer.Option(min=1, help="First record to leave out again.")] = None,
    task: Task = None,
    compression: Compression = "lzma",
) -> None:
    """Keep a range of records."""
    from pymem.traces import edit

    _writable(out)
    _made(_reading(trace, lambda: edit.cut(_path(trace), out, start, stop, task, compression=compression)), False)


@app.command()
def merge(
    traces: Annotated[list[str], typer.Argument(help="Traces; each brings its tasks.")],
    out: Out,
    compression: Compression = "lzma",
) -> None:
    """Put several traces into one with several tasks; files of the same name are the same file."""
    from pymem.traces import edit

    _writable(out)
    paths = [_path(one) for one in traces]
    _made(_reading(", ".join(traces), lambda: edit.merge(paths, out, compression=compression)), False)


@app.command()
def sample(
    trace: Trace,
    out: Out,
    rate: Annotated[float, typer.Option(help="Share of the pages to keep, above 0 and up to 1.")],
    seed: Annotated[int, typer.Option(help="Another seed chooses other pages.")] = 0,
    compression: Compression = "lzma",
) -> None:
    """Keep all records of some pages (SHARDS): a smaller trace with the same miss ratios in a smaller memory."""
    from pymem.traces import edit

    _writable(out)
    _made(_reading(trace, lambda: edit.sample(_path(trace), out, rate, seed, compression=compression)), False)


@app.command()
def export(
    trace: Trace,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to make.")],
    form: Annotated[str, typer.Option("--format", help="oracleGeneral (libCacheSim) or address (text).")],
    task: Task = None,
    repeats: Annotated[
        bool, typer.Option("--repeats", help="Write a load or store as often as it repeats, not once.")
    ] = False,
) -> None:
    """Write a task in the format of another tool."""
    from pymem.traces.export import export as export_trace

    _writable(out)
    count = _reading(trace, lambda: export_trace(_path(trace), out, form, task=task, repeats=repeats))
    typer.echo(f"{out}: {count:,} requests")


@app.command()
def analyze(
    trace: Trace,
    task: Task = None,
    windows: Annotated[int, typer.Option(min=1, max=10_000, help="Parts to take the working set of.")] = 60,
    html: Annotated[Path | None, typer.Option(help="Write a page with figures; it needs no network.")] = None,
    as_json: AsJson = False,
) -> None:
    """Footprint, working set, heat map, reuse distances, miss ratios of LRU, mix, sequentiality and skew."""
    from pymem.cli import trace_pictures
    from pymem.traces.analysis import analyze as analyze_task
    from pymem.traces.references import chosen_tasks

    if html is not None:
        _writable(html)
    with _opened(trace) as opened:
        with _progress("analysing", "references") as progress:
            found = [
                analyze_task(opened, number, windows=windows, progress=progress)
                for number in chosen_tasks(opened, task)
            ]
        if html is not None:
            from pymem.files import write_text
            from pymem.reports.trace_page import page

            text = page(opened.info, found)
            write_text(html, text)
        if as_json:
            typer.echo(json.dumps([one.to_dict() for one in found], indent=1))
            return
        console = _console()
        for one in found:
            for part in trace_pictures.analysis(one):
                console.print(part)


# ---- helpers ----------------------------------------------------------------------------------------------


def _path(trace: str) -> Path:
    from pymem.workloads.trace import locate

    return locate(trace, "trace")


def _reading(name: object, act: Callable[[], T]) -> T:
    """Do something with files; what the system refuses becomes a TraceError."""
    try:
        return act()
    except OSError as error:
        raise TraceError(f"{error.filename or name}: {error.strerror or error}") from None


@contextmanager
def _opened(trace: str) -> Iterator[TraceFile]:
    from pymem.traces.store import TraceFile

    with _reading(trace, lambda: TraceFile(_path(trace))) as opened:
        yield opened


def _writable(out: Path) -> None:
    """Refuse early what could not be written at the end of a long run."""
    if out.is_dir():
        raise TraceError(f"{out}: is a folder; accepted is the name of a file")
    if not out.absolute().parent.is_dir():
        raise TraceError(f"{out}: the folder {out.absolute().parent} does not exist")


def _console() -> Any:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 100, highlight=False)


def _made(info: TraceInfo, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(asdict(info), indent=1))
        return
    pages = sum(task.pages for task in info.tasks)
    tasks = f"{len(info.tasks)} tasks" if len(info.tasks) != 1 else f"task {info.tasks[0].name}"
    typer.echo(f"{info.path}: {info.records:,} records for {info.accesses:,} accesses, {tasks}, {pages:,} pages")


@contextmanager
def _progress(doing: str, what: str) -> Iterator[Callable[[int], None]]:
    """A line on the terminal that counts; nothing where there is none."""
    from rich.console import Console
    from rich.status import Status

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda count: None
        return
    with Status(f"{doing} ...", console=console) as status:
        yield lambda count: status.update(f"{doing} ... {count:,} {what}")


def _lines(trace: TraceFile, number: int, start: int, count: int) -> Iterator[str]:
    """Records of a task as text."""
    import numpy as np

    from pymem.records import Op, unpack
    from pymem.traces.references import chunks

    task = trace.info.tasks[number]
    bases = np.cumsum([0] + [region.pages for region in task.regions])
    place = 0
    for records, times in chunks(trace, number):
        low, high = max(start - place, 0), min(max(start + count - place, 0), len(records))
        moments = np.zeros(len(records), np.uint64) if times is None else times
        columns = (column[low:high].tolist() for column in unpack(records))
        for at, page, op, repeat in zip(range(low, high), *columns, strict=True):
            if op >= Op.SLEEP:
                where = ""
            else:
                region = task.regions[int(np.searchsorted(bases, page, side="right")) - 1]
                where = f"{int(task.addresses(np.array([page]))[0]):#x} {region.name}"
            yield f"{place + at} {Op(op).name} {page} {repeat} {int(moments[at])} {where}".rstrip()
        place += len(records)
        if place >= start + count:
            return
