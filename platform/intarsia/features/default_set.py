"""The features of the house, in the order of the matrix: adding one is a function in a theme and its name in the theme's list."""

from __future__ import annotations

from intarsia.features.assemble import FEEDBACK, FRAME_VERSION
from intarsia.features.definition import FeatureSet
from intarsia.features.themes.agreement import agreement_features
from intarsia.features.themes.circumstance import circumstance_features
from intarsia.features.themes.completeness import completeness_features
from intarsia.features.themes.popularity import popularity_features
from intarsia.features.themes.price import price_features
from intarsia.features.themes.retrieval import retrieval_features
from intarsia.features.themes.similarity import similarity_features
from intarsia.features.themes.text_match import text_match_features
from intarsia.names import RETRIEVERS

FEATURES = FeatureSet(
    features=(
        *retrieval_features(RETRIEVERS),
        *text_match_features(),
        *agreement_features(),
        *price_features(),
        *similarity_features(FEEDBACK),
        *completeness_features(),
        *popularity_features(),
        *circumstance_features(),
    ),
    frame_version=FRAME_VERSION,
)
"""What every release of this code computes."""
