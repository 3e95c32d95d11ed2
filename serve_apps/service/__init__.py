"""The search service behind the HTTP API: deadlines, stages, the release cache, the log of served requests."""
