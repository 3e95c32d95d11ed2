"""The default feature set. To add a feature, write a function in a theme and add its name to the theme's list.

Column order of the matrix: the order of the themes here, and of the lists in them.
"""

from __future__ import annotations

from intarsia.features.assemble import FEEDBACK_SPACES, FRAME_VERSION
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
        *similarity_features(FEEDBACK_SPACES),
        *completeness_features(),
        *popularity_features(),
        *circumstance_features(),
    ),
    frame_version=FRAME_VERSION,
)
"""The features of every release made by this version."""
