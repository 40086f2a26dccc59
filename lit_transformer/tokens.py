"""Token ids: the special tokens of every vocabulary, and the types of ids. No torch: reports need them too."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
Ids = Sequence[int] | NDArray[np.integer]

PAD, BOS, EOS, UNK = 0, 1, 2, 3
