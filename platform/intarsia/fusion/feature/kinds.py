"""The table of the kinds of feature fusion: name -> module. Needs torch; what serves reads `scorer.py` alone."""

from __future__ import annotations

from collections.abc import Mapping

from intarsia.fusion.feature.adversarial import Adversarial
from intarsia.fusion.feature.attention import AttentionFusion
from intarsia.fusion.feature.average import Average
from intarsia.fusion.feature.bilinear import Bilinear
from intarsia.fusion.feature.common_space import CommonSpace
from intarsia.fusion.feature.concat import Concat
from intarsia.fusion.feature.config import JointKind
from intarsia.fusion.feature.cross_attention import CrossAttention
from intarsia.fusion.feature.dnn import Dnn
from intarsia.fusion.feature.gated import Gated
from intarsia.fusion.feature.joint_transformer import JointTransformer
from intarsia.fusion.feature.low_rank import LowRank
from intarsia.fusion.feature.module import JointModule
from intarsia.fusion.feature.weighted_sum import WeightedSum

KINDS: Mapping[JointKind, type[JointModule]] = {
    "average": Average,
    "weighted_sum": WeightedSum,
    "concat": Concat,
    "dnn": Dnn,
    "gated": Gated,
    "attention": AttentionFusion,
    "cross_attention": CrossAttention,
    "common_space": CommonSpace,
    "joint_transformer": JointTransformer,
    "adversarial": Adversarial,
    "low_rank": LowRank,
    "bilinear": Bilinear,
}
