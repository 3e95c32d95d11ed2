"""`python -m pipelines`: what jobs there are, in the order of the flow."""

from __future__ import annotations

from pipelines.job import load_job
from pipelines.jobs import CHECK_NAMES, JOB_NAMES

print("python -m pipelines.<job> --config FILE [key=value ...]      --help explains every setting\n")
for name in JOB_NAMES:
    print(f"  {name:<24} {load_job(name).summary}")
print(f"  {'full_run':<24} All jobs of a config file in this order; skips what is up to date.")
print("\nBeside the flow:\n")
for name in CHECK_NAMES:
    print(f"  {name:<24} {load_job(name).summary}")
