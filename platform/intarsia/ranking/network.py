"""LightGBM's own network between the ranks of a distributed fit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import lightgbm

_NETWORK_LINE = re.compile(r"\[(machines|local_listen_port|num_machines|machine_list_filename): .*\]\n")


class Links:
    """LightGBM's network: the first fit opens it for all. To close and bind the same port again fails while old connections linger."""

    def __init__(self, network: Mapping[str, Any] | None) -> None:
        self._network = network
        self._opener: lightgbm.Booster | None = None

    def train(self, parameters: Mapping[str, Any], *args: Any, **options: Any) -> lightgbm.Booster:
        """As `lightgbm.train`, with the ranks linked, if there are others."""
        linked = _network_parameters(self._network, is_open=self._opener is not None)
        booster = lightgbm.train({**parameters, **linked}, *args, **options)
        self._opener = self._opener or booster
        return booster

    def close(self) -> None:
        """Nothing is fitted after it."""
        if self._network and self._opener:
            self._opener.free_network()


def _network_parameters(network: Mapping[str, Any] | None, *, is_open: bool) -> dict[str, Any]:
    """Without the first two parameters every rank would silently fit a model of its own shard."""
    if not network:
        return {}
    opening = {} if is_open else network
    return {
        "tree_learner": "data_parallel",
        "pre_partition": True,
        "num_machines": network["num_machines"],
        **opening,
    }


def without_network(model_text: str) -> str:
    """A model's text that does not tell who fitted it: equal on every rank."""
    return _NETWORK_LINE.sub("", model_text)
