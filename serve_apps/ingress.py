"""The ingress as a deployment: HTTP in, pages out; in the fused topology the three stages are inside it."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from ray import serve

from intarsia.engine.search import SearchEngine
from intarsia.ids import ReleaseId
from serve_apps.answer import Answerer
from serve_apps.api import build_api
from serve_apps.feedback import Feedback
from serve_apps.front import Front, front_opener
from serve_apps.held import Held
from serve_apps.settings import ServingConfig
from serve_apps.stages import ComposedStages, FusedStages, Stages, Threads


@serve.deployment
@serve.ingress()
class IngressDeployment:
    """Opens the release and speaks HTTP; given handles of the three stages it asks them, given none it computes itself."""

    def __init__(self, config: ServingConfig, retriever: Any = None, fuser: Any = None, ranker: Any = None) -> None:
        self._config = config
        self._held: Held[Front] = Held(config, front_opener(config.topology))
        self._threads = Threads(config.replicas.stage_threads)
        self._stages: Stages
        if retriever is None:
            self._stages = FusedStages(self._engine, self._threads)
        else:
            self._stages = ComposedStages(retriever=retriever, fuser=fuser, ranker=ranker)
        self._feedback = Feedback(config.journal_folder, config.limits)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """The application over what was opened."""
        answerer = Answerer(held=self._held, stages=self._stages, threads=self._threads, budgets=self._config.budgets)
        return build_api(
            config=self._config, held=self._held, stages=self._stages, answerer=answerer, feedback=self._feedback
        )

    def _engine(self, release_id: ReleaseId) -> SearchEngine:
        engine = self._held.of(release_id).engine
        assert engine is not None, "a fused ingress opens the stages"
        return engine
