"""`python -m pipelines` lists the jobs in the order in which `full_run` runs them."""

from __future__ import annotations

from pipelines.job import load_job
from pipelines.jobs import CHECK_NAMES, JOB_NAMES

print("python -m pipelines.<job> --config FILE [key=value ...]      --help lists the settings\n")
for name in JOB_NAMES:
    print(f"  {name:<24} {load_job(name).summary}")
print(f"  {'full_run':<24} All jobs of a config file in this order; skips what is up to date.")
print("\nNot part of full_run:\n")
for name in CHECK_NAMES:
    print(f"  {name:<24} {load_job(name).summary}")
