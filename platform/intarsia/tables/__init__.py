"""What is written down: Arrow schemas, and the way from record to row and back. Who writes which table is `pipelines/`' matter."""
