"""Ray Serve deployments: ingress, retriever, fuser, ranker, and the graph that binds them."""
