"""Ray Serve deployments, the HTTP API and the search page."""
