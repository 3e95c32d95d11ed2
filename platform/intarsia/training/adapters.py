"""Which weights of a tower are trained: all, the highest layers, or low-rank adapters (LoRA, AdaLoRA); and its dropout.

Adapters are merged into plain weights after the fit. The names of the attention layers are read from the model itself.
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
"""Names of the query and value projections by family of transformers; GPT-2 has both in one layer."""
_PRUNED_FROM, _PRUNED_TO = 0.2, 0.7  # AdaLoRA removes ranks between these shares of the steps
_ORTHOGONAL_WEIGHT = 0.5  # value in the paper's code
_IMPORTANCE = ("ipt", "exp_avg_ipt", "exp_avg_unc")
"""State of peft's rank allocator per factor: last sensitivity, its running mean, and the running mean of its
uncertainty.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterConfig:
    """Which weights of a tower are trained."""

    kind: AdapterKind = setting(
        "trained weights: all; upper (the highest layers; the other layers and the word embeddings stay frozen); lora; "
        "or adalora (LoRA that moves its ranks to the layers that need them)",
        "all",
    )
    num_layers: int = setting("kind upper: number of highest layers that are trained", 3, advanced=True)
    rank: int = setting("kinds lora and adalora: rank of the adapters (adalora: mean rank)", 8, advanced=True)
    alpha: float = setting("kinds lora and adalora: the adapter output is scaled by alpha / rank", 16.0, advanced=True)
    dropout: float = setting("kinds lora and adalora: dropout of the adapter inputs", 0.0, advanced=True)

    def __post_init__(self) -> None:
        check_range(self, "num_layers", "rank", low=1)
        check_range(self, "dropout", low=0.0, high=1.0)
        if not self.alpha > 0:
            raise ValueError(f"alpha is {self.alpha}; allowed: above 0")


class Adapters:
    """The trained part of a tower: attached before the fit, updated after each step, merged after the fit.

    Args:
        tower: a module; kinds lora, adalora and upper need its attribute `transformer`. Changed in place.
        config: which weights are trained.
        num_steps: steps of the fit; adalora schedules its ranks over them.

    Raises:
        ConfigError: the tower has no transformer, no attention layer of a known name, or fewer layers than
            `num_layers`.

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
        import peft  # imports all of transformers, which takes seconds

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
        with warnings.catch_warnings():  # peft reads a deprecated attribute of transformers
            warnings.simplefilter("ignore", FutureWarning)
            self._peft = peft.get_peft_model(transformer, plan)
        tower.transformer = self._peft

    def after_step(self, step: int) -> None:
        """Reallocate the ranks of adalora. Call it after the update and before the gradients are cleared."""
        if self._config.kind == "adalora":
            self._peft.base_model.update_and_allocate(step)

    def extra_state(self) -> dict[str, Any]:
        """State of adalora besides the parameters: its rank pattern and the importance of each factor; empty for other
        kinds.
        """
        if self._config.kind != "adalora":
            return {}
        importance = {name: getattr(self._peft.base_model.rankallocator, name) for name in _IMPORTANCE}
        return {"rank_pattern": self._adalora_plan().rank_pattern, **importance}

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        """Restore the result of `extra_state`, on the device of the adapters."""
        if self._config.kind != "adalora":
            return
        device = next(self._peft.parameters()).device
        self._adalora_plan().rank_pattern = state["rank_pattern"]
        for name in _IMPORTANCE:
            moved = {factor: tensor.to(device) for factor, tensor in state[name].items()}
            setattr(self._peft.base_model.rankallocator, name, moved)

    def penalty(self) -> torch.Tensor:
        """Orthogonality penalty that adalora adds to the loss; 0 for other kinds."""
        if self._config.kind != "adalora":
            return torch.zeros(())
        penalties = [_off_orthogonal(p, name) for name, p in self._peft.named_parameters() if _is_factor(name)]
        return _ORTHOGONAL_WEIGHT * torch.stack(penalties).mean()

    def merge(self) -> None:
        """Add the adapters to the weights they belong to. The tower is a plain one again, with all parameters
        trainable.
        """
        if self._peft is not None:
            self._tower.transformer = self._peft.merge_and_unload()
            self._peft = None
        self._tower.requires_grad_(True)

    def _adalora_plan(self) -> Any:
        return self._peft.peft_config[self._peft.active_adapter]


def _first_rank(rank: int) -> int:
    return rank + (rank + 1) // 2  # 1.5 times the final rank, rounded up


def _is_factor(name: str) -> bool:
    return "lora_A" in name or "lora_B" in name


def _off_orthogonal(factor: torch.Tensor, name: str) -> torch.Tensor:
    """Frobenius distance of P'P or QQ' from the identity."""
    gram = factor @ factor.T if "lora_A" in name else factor.T @ factor
    distance: torch.Tensor = (gram - torch.eye(len(gram), device=gram.device)).norm()
    return distance


def _attention_of(transformer: nn.Module) -> tuple[str, ...]:
    ends = {name.rpartition(".")[2] for name, _ in transformer.named_modules()}
    for names in _ATTENTION:
        if ends.issuperset(names):
            return names
    allowed = ", ".join(" + ".join(names) for names in _ATTENTION)
    raise ConfigError(
        f"{type(transformer).__name__} has no attention layers with one of the names {allowed}; set the adapter kind "
        "to all or upper"
    )


def _freeze_below(transformer: nn.Module, num_layers: int) -> None:
    stacks = [module for module in transformer.modules() if isinstance(module, nn.ModuleList) and len(module)]
    if not stacks:
        raise ConfigError(f"{type(transformer).__name__} has no stack of layers; set the adapter kind to all")
    layers = stacks[0]
    if num_layers > len(layers):
        raise ConfigError(
            f"num_layers is {num_layers}, but {type(transformer).__name__} has {len(layers)}; allowed: 1..{len(layers)}"
        )
    transformer.requires_grad_(False)
    for layer in list(layers)[-num_layers:]:
        layer.requires_grad_(True)


def set_dropout(tower: nn.Module, rate: float) -> None:
    """Set the rate of every dropout layer of a tower, 0..1. Encoding is not affected.

    An RNN of one layer has no dropout: torch applies it between layers only.

    Source: Srivastava et al., JMLR 2014
    """
    for module in tower.modules():
        if isinstance(module, _DropoutNd):
            module.p = rate
        elif isinstance(module, nn.RNNBase):
            module.dropout = rate if module.num_layers > 1 else 0.0
        else:
            for name in ("dropout", "attention_dropout"):  # plain floats that attention reads in the CLIP family
                if isinstance(getattr(module, name, None), float):
                    setattr(module, name, rate)
