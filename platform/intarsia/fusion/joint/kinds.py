"""The table of the kinds of feature fusion: name -> module. Needs torch; what serves reads `scorer.py` alone."""

from __future__ import annotations

from collections.abc import Mapping

from intarsia.fusion.joint.adversarial import Adversarial
from intarsia.fusion.joint.attention import AttentionFusion
from intarsia.fusion.joint.average import Average
from intarsia.fusion.joint.bilinear import Bilinear
from intarsia.fusion.joint.common_space import CommonSpace
from intarsia.fusion.joint.concat import Concat
from intarsia.fusion.joint.config import JointKind
from intarsia.fusion.joint.cross_attention import CrossAttention
from intarsia.fusion.joint.dnn import Dnn
from intarsia.fusion.joint.gated import Gated
from intarsia.fusion.joint.joint_transformer import JointTransformer
from intarsia.fusion.joint.low_rank import LowRank
from intarsia.fusion.joint.module import JointModule
from intarsia.fusion.joint.weighted_sum import WeightedSum

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
