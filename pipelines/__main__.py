"""`intarsia jobs` lists the jobs in the order in which `full_run` runs them."""

from __future__ import annotations

from pipelines.job import load_job
from pipelines.jobs import CHECK_NAMES, JOB_NAMES

print("usage: intarsia job NAME --config FILE [key=value ...]      --help lists the settings of a job\n")
for name in JOB_NAMES:
    print(f"  {name:<24} {load_job(name).summary}")
print("\n`intarsia run FILE` runs those that FILE has a group for, in this order. Not part of it:\n")
for name in CHECK_NAMES:
    print(f"  {name:<24} {load_job(name).summary}")
