"""Benchmarks of speed, memory and quality; `python -m benchmarks` runs all of them."""
