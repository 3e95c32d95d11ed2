"""Ray Serve deployments, the HTTP edge and the page. What an answer is, is `engine/`'s matter."""
