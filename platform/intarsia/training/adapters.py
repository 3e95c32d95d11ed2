"""Few parameters instead of all: low-rank adapters on a tower's attention (LoRA, AdaLoRA), merged into plain weights after the fit.

Which layers a model's attention consists of is read from the model itself, so that users name none.


How much of its activations a tower drops while it learns, whatever it was made with.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from intarsia.config import check_range, setting
from intarsia.errors import ConfigError

AdapterKind = Literal["all", "upper", "lora", "adalora"]
_ATTENTION = (("query", "value"), ("q_proj", "v_proj"), ("c_attn",), ("q_lin", "v_lin"))
"""What the families of transformers call their query and value projections; GPT-2 has them in one layer."""
_PRUNED_FROM, _PRUNED_TO = 0.2, 0.7  # shares of the steps between which AdaLoRA gives up ranks
_ORTHOGONAL_WEIGHT = 0.5  # of the paper's code
_IMPORTANCE = ("ipt", "exp_avg_ipt", "exp_avg_unc")
"""What peft's rank allocator remembers of each factor: its last sensitivity, the running mean of it, and of how uncertain that is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterConfig:
    """What of a tower is trained."""

    kind: AdapterKind = setting(
        "all weights; upper (the highest layers, the others and the word embeddings stay); lora; or adalora, which gives its ranks to the "
        "layers that need them",
        "all",
    )
    num_layers: int = setting("of kind upper: highest layers that are trained", 3)
    rank: int = setting("of the adapters, on average; does nothing for all and upper", 8)
    alpha: float = setting("the adapters' change is scaled by alpha / rank", 16.0)
    dropout: float = setting("share of the adapters' inputs that is dropped while they learn", 0.0)

    def __post_init__(self) -> None:
        check_range(self, "num_layers", "rank", low=1)
        check_range(self, "dropout", low=0.0, high=1.0)
        if not self.alpha > 0:
            raise ValueError(f"alpha is {self.alpha}; allowed: above 0")


class Adapters:
    """The trained part of a tower: put on before the fit, told of its steps, merged after it.

    Args:
        tower: a module with a `transformer` for lora, adalora and upper; changed in place.
        config: what is trained.
        num_steps: of the fit; adalora plans its ranks over them.

    Raises:
        ConfigError: the tower has no transformer, no layers of a known name, or fewer than are asked for.

    Source: LoRA, Hu et al., ICLR 2022, arXiv:2106.09685; AdaLoRA, Zhang et al., ICLR 2023, arXiv:2303.10512
    """

    def __init__(self, tower: nn.Module, config: AdapterConfig, num_steps: int) -> None:
        self._tower, self._config = tower, config
        self._peft: Any = None
        if config.kind == "all":
            return
        transformer = getattr(tower, "transformer", None)
        if transformer is None:
            raise ConfigError(f"adapter kind {config.kind} needs a transformer, this tower has none; set kind to all")
        if config.kind == "upper":
            _freeze_below(transformer, config.num_layers)
            return
        import peft  # brings every transformer there is: seconds that a config and the other kinds do not need

        targets = _attention_of(transformer)
        common: dict[str, Any] = {
            "lora_alpha": config.alpha,
            "lora_dropout": config.dropout,
            "target_modules": list(targets),
            "fan_in_fan_out": targets == ("c_attn",),
        }
        if config.kind == "lora":
            plan: Any = peft.LoraConfig(r=config.rank, **common)
        else:
            plan = peft.AdaLoraConfig(
                target_r=config.rank,
                init_r=_first_rank(config.rank),
                total_step=max(num_steps, 3),
                tinit=int(_PRUNED_FROM * num_steps),
                tfinal=max(1, int((1.0 - _PRUNED_TO) * num_steps)),
                **common,
            )
        with warnings.catch_warnings():  # peft asks transformers for a property of an old name
            warnings.simplefilter("ignore", FutureWarning)
            self._peft = peft.get_peft_model(transformer, plan)
        tower.transformer = self._peft

    def after_step(self, step: int) -> None:
        """Let adalora move its ranks; asked for after the update, while the gradients are still there."""
        if self._config.kind == "adalora":
            self._peft.base_model.update_and_allocate(step)

    def extra_state(self) -> dict[str, Any]:
        """What adalora must keep beside the parameters to go on: the ranks it gave, and how important each factor was; empty for others."""
        if self._config.kind != "adalora":
            return {}
        importance = {name: getattr(self._peft.base_model.rankallocator, name) for name in _IMPORTANCE}
        return {"rank_pattern": self._adalora_plan().rank_pattern, **importance}

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        """Take up what `kept_state` gave, on the device where the adapters are."""
        if self._config.kind != "adalora":
            return
        device = next(self._peft.parameters()).device
        self._adalora_plan().rank_pattern = state["rank_pattern"]
        for name in _IMPORTANCE:
            moved = {factor: tensor.to(device) for factor, tensor in state[name].items()}
            setattr(self._peft.base_model.rankallocator, name, moved)

    def penalty(self) -> torch.Tensor:
        """What adalora adds to the loss so that its factors stay orthogonal; 0 for the others."""
        if self._config.kind != "adalora":
            return torch.zeros(())
        parts = [_off_orthogonal(p, name) for name, p in self._peft.named_parameters() if _is_factor(name)]
        return _ORTHOGONAL_WEIGHT * torch.stack(parts).mean()

    def merge(self) -> None:
        """Add the adapters to the weights they sit on; the tower is a plain one again, and all of it could be trained."""
        if self._peft is not None:
            self._tower.transformer = self._peft.merge_and_unload()
            self._peft = None
        self._tower.requires_grad_(True)

    def _adalora_plan(self) -> Any:
        return self._peft.peft_config[self._peft.active_adapter]


def _first_rank(rank: int) -> int:
    return rank + (rank + 1) // 2  # half as much again: what is given up first is chosen among these


def _is_factor(name: str) -> bool:
    return "lora_A" in name or "lora_B" in name


def _off_orthogonal(factor: torch.Tensor, name: str) -> torch.Tensor:
    """Distance of P'P or QQ' from the identity, by Frobenius."""
    gram = factor @ factor.T if "lora_A" in name else factor.T @ factor
    distance: torch.Tensor = (gram - torch.eye(len(gram), device=gram.device)).norm()
    return distance


def _attention_of(transformer: nn.Module) -> tuple[str, ...]:
    ends = {name.rpartition(".")[2] for name, _ in transformer.named_modules()}
    for names in _ATTENTION:
        if ends.issuperset(names):
            return names
    known = ", ".join(" + ".join(names) for names in _ATTENTION)
    raise ConfigError(
        f"no attention of a known name in {type(transformer).__name__}: {known}; set the adapter kind to all or upper"
    )


def _freeze_below(transformer: nn.Module, num_layers: int) -> None:
    stacks = [part for part in transformer.modules() if isinstance(part, nn.ModuleList) and len(part)]
    if not stacks:
        raise ConfigError(f"{type(transformer).__name__} has no stack of layers; set the adapter kind to all")
    layers = stacks[0]
    if num_layers > len(layers):
        raise ConfigError(
            f"num_layers is {num_layers}, and {type(transformer).__name__} has {len(layers)}; allowed: 1..{len(layers)}"
        )
    transformer.requires_grad_(False)
    for layer in list(layers)[-num_layers:]:
        layer.requires_grad_(True)


def set_dropout(tower: nn.Module, share: float) -> None:
    """Give every dropout of a module one share, 0..1; encoding is not touched by it.

    Recurrent layers drop between their layers, and a single one has nothing between: it is left alone.

    Source: Srivastava et al., JMLR 2014
    """
    for part in tower.modules():
        if isinstance(part, _DropoutNd):
            part.p = share
        elif isinstance(part, nn.RNNBase):
            part.dropout = share if part.num_layers > 1 else 0.0
        else:
            for name in ("dropout", "attention_dropout"):  # numbers that attention reads, in the CLIP family
                if isinstance(getattr(part, name, None), float):
                    setattr(part, name, share)
