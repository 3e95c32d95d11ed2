"""The three stages in one process: query -> candidates -> fused -> page; the same stages answer one request and thousands of judged queries."""
