"""The three stages in one process: query -> candidates -> fused -> page. The same stages serve one request and thousands of judged queries."""
