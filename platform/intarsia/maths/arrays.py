"""Array types shared by the whole library. A name's trailing letters give the shape; the type gives the dtype alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
"""float64 of any shape."""

Float32s = NDArray[np.float32]
"""float32 of any shape: embeddings, scores of an index, feature values."""

Ints = NDArray[np.int64]
"""int64 of any shape: row numbers, counts, offsets."""

Bools = NDArray[np.bool_]
"""bool of any shape."""
