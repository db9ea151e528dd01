"""Results in the formats of other tools: Perfetto, Prometheus, Parquet, CSV, polars, xarray."""

from __future__ import annotations

from pymem.interop.formats import FORMATS, export
from pymem.interop.perfetto import trace_events
from pymem.interop.prometheus import metrics
from pymem.interop.tables import to_polars, to_xarray

__all__ = ["FORMATS", "export", "metrics", "to_polars", "to_xarray", "trace_events"]
