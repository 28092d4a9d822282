"""The range of sums: which of them float64, or float32, has settled, and the scale of the others.

What several families of distances share; no distance.
"""

import math
from typing import Any

# --------------------------------------------------------------------------------------------------
# Range. Sums of squares leave float64 long before the distance does: (1e200)² is infinite. A sum
# outside [2⁻⁵⁰⁰, 2⁵⁰⁰] (the square root of the range, so that products of two sums stay inside too)
# sends the row through once more, multiplied by a power of two. Powers of two are exact: a row that
# needs them and one that does not give the same bits. float32 rows never leave the window.
# --------------------------------------------------------------------------------------------------

LOW, HIGH = 2.0**-500, 2.0**500


def scale_for(total: float, scale: float) -> float:
    """The power of two for the next pass, given a sum of squares found at ``scale``."""
    if LOW <= total <= HIGH:  # first: it is nearly always so
        return scale
    if total == 0 or math.isinf(total):
        # No exponent to read. One step reaches every finite row; a row of zeros or one with an
        # infinity in it is the same after it, and is left at that.
        if scale != 1:
            return scale
        return 2.0**600 if total == 0 else 2.0**-600
    if math.isnan(total):
        return scale
    # To about 1, but by no more than 2⁴⁰⁰: the scale of a subnormal row must not overflow itself.
    return scale * math.ldexp(1.0, min(-(math.frexp(total)[1] // 2), 400))


# Half types are summed in float32, a stretch at a time, where a distance finds that what came out
# suffices. Sums of squares are to be in [2⁻¹⁰⁰, 2¹⁰⁰]: then no square that counts has left float32,
# and none of a float16 row is outside. What a difference of sums leaves is to be at least 2⁻⁶ of
# them: 12 good bits, where float16 has 11. Of a sum that cancels, as x·y, 2⁻¹⁰ of the magnitudes
# of its terms will do: that many of them do not round alike.

LEAST, MOST = 2.0**-100, 2.0**100
LEFT, SMALL = 2.0**-6, 2.0**-10


def moderate(total: Any) -> Any:
    """Whether a sum that was taken in float32 is one that float32 holds."""
    return LEAST <= total <= MOST
