"""What `pymem export` writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from pymem.errors import PymemError
from pymem.files import replacing, write_text
from pymem.interop.perfetto import trace_events
from pymem.interop.prometheus import metrics
from pymem.interop.tables import write_csv

if TYPE_CHECKING:
    from pymem.result import Result

#: Name of the format: name of the file.
FORMATS = {
    "perfetto": "trace.json", "prometheus": "metrics.prom", "parquet": "timeline.parquet", "csv": "timeline.csv"
}  # fmt: skip


def export(result: Result, path: str | Path, form: str) -> None:
    """Write a result to a file in one of `FORMATS`, whole or not at all.

    Raises
    ------
    PymemError
        An unknown format, a library that is missing, a place that cannot be written.
    """
    if form not in FORMATS:
        raise PymemError(f"format {form!r}: accepted are {', '.join(FORMATS)}")
    if form == "perfetto":
        write_text(path, json.dumps(trace_events(result), separators=(",", ":")) + "\n")
    elif form == "prometheus":
        write_text(path, metrics(result))
    elif form == "csv":
        with replacing(path) as fresh:
            write_csv(fresh, result.timeline.columns)
    else:
        try:
            import pyarrow  # noqa: F401
        except ImportError:
            raise PymemError("format parquet: needs pyarrow; pip install 'pymem-sim[parquet]'") from None
        with replacing(path) as fresh:
            result.timeline.to_parquet(fresh)
