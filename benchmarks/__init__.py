"""Benchmarks: fixed seeds, and every figure beside a bare loop over a flat array on the same records.

``python -m benchmarks`` prints the table; ``python -m benchmarks.bench_zsmalloc`` is about compressed pools.
"""
