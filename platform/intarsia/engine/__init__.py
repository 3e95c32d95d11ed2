"""The three stages in one process: query -> candidates -> fused -> page; the same for one request and thousands of judged queries."""
