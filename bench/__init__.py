"""Benchmarks: one file each, run by `scripts/bench NAME`; every figure stands beside a raw limit of the same run."""
