"""One file per job; `intarsia jobs` lists them, `intarsia job NAME --help` explains one."""
