"""One file per job; `python -m pipelines` lists them, `python -m pipelines.<job> --help` explains one."""
