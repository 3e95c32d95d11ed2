"""Array types shared by the whole library."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
"""float64 of any shape."""
