"""Two of LightGBM's models as one that scores their weighted sum: it opens, predicts and explains like any other.

LightGBM adds no models itself, so this works on its text form: the trees of the second follow those of the first.
"""

from __future__ import annotations

import re

import lightgbm

_TREE = re.compile(r"Tree=\d+\n(.*?)\n\n(?=\nTree=|\nend of trees)", re.DOTALL)
_SIZES = re.compile(r"tree_sizes=[^\n]*\n")
_FIRST_TREE, _END = "Tree=0\n", "end of trees"


def summed(first: str, second: str, weight: float) -> str:
    """The text of `first + weight * second`, models of the same features.

    Objective, parameters and the features' ranges are told as the first's. The gains of the second's splits are of another objective's
    unit; they are scaled to the same sum as the first's, so that importances count both models alike.
    """
    gains = [_gain_of(text) for text in (first, second)]
    gain_scale = gains[0] / gains[1] if all(gains) else 1.0
    trees = [*_trees_of(first), *(_scaled(tree, weight, gain_scale) for tree in _trees_of(second))]
    head, _, rest = first.partition(_FIRST_TREE)
    told = "\n\n".join(f"Tree={number}\n{tree}\n" for number, tree in enumerate(trees))
    text = f"{_SIZES.sub('', head)}{told}\n\n{_END}{rest.partition(_END)[2]}"
    return str(lightgbm.Booster(model_str=text).model_to_string())  # written anew, for the sizes of the trees


def _trees_of(text: str) -> list[str]:
    return _TREE.findall(text)


def _gain_of(text: str) -> float:
    return float(lightgbm.Booster(model_str=text).feature_importance(importance_type="gain").sum())


def _scaled(tree: str, weight: float, gain_scale: float) -> str:
    factors = {"leaf_value": weight, "internal_value": weight, "shrinkage": weight, "split_gain": gain_scale}
    lines = []
    for line in tree.split("\n"):
        name, _, values = line.partition("=")
        if name in factors:
            line = f"{name}={' '.join(repr(factors[name] * float(value)) for value in values.split())}"
        lines.append(line)
    return "\n".join(lines)
