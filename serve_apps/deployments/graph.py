"""The served graph: `serve run serve_apps.deployments.graph:build lake=… topology=fused`, or the same through `search.yaml`.

Both topologies are made of the same stages, and answer the same bytes.
"""

from __future__ import annotations

from typing import Any

from ray.serve import Application, Deployment

from serve_apps.deployments.fuser import FuserDeployment
from serve_apps.deployments.ingress import IngressDeployment
from serve_apps.deployments.ranker import RankerDeployment
from serve_apps.deployments.retriever import RetrieverDeployment
from serve_apps.settings import Replicas, ServingConfig, serving_config

APP_NAME = "search"


def build(args: dict[str, Any]) -> Application:
    """The application of `ServingConfig`'s settings, given as a mapping (`budgets.ranker_ms` or nested groups)."""
    return bind(serving_config(args))


def bind(config: ServingConfig) -> Application:
    """The graph of one config: the ingress alone (fused), or the stages behind it (composed)."""
    sizes = config.replicas
    ingress = _sized(IngressDeployment, "Ingress", sizes.ingress, sizes)
    if config.topology == "fused":
        return ingress.bind(config)
    return ingress.bind(
        config,
        _sized(RetrieverDeployment, "Retriever", sizes.retriever, sizes).bind(config),
        _sized(FuserDeployment, "Fuser", sizes.fuser, sizes).bind(config) if sizes.fuser else None,
        _sized(RankerDeployment, "Ranker", sizes.ranker, sizes).bind(config),
    )


def _sized(deployment: Deployment, name: str, num_replicas: int, sizes: Replicas) -> Deployment:
    return deployment.options(
        name=name,
        num_replicas=num_replicas,
        max_ongoing_requests=sizes.max_ongoing_requests,
        ray_actor_options={"num_cpus": sizes.num_cpus},
    )
