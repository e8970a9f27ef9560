"""Tail probabilities with the standard library and NumPy alone. SciPy is only the tests' oracle.

Sources: normal tail by `math.erfc`, incomplete gamma by its series (DLMF 8.11.4) and continued fraction (DLMF 8.9.2),
incomplete beta by its continued fraction (DLMF 8.17.22) and symmetry, fractions by the modified Lentz method.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from itertools import count as counted
from statistics import NormalDist

import numpy as np

from evaluator.arrays import Floats

_PRECISION = 1e-15
_TINY = 1e-300
_erfc = np.frompyfunc(math.erfc, 1, 1)


def normal_tail(z: Floats) -> Floats:
    """P(Z > z). NaN stays NaN."""
    return np.asarray(_erfc(np.asarray(z) / math.sqrt(2)), dtype=np.float64) / 2


def normal_quantile(p: float) -> float:
    """The z with P(Z ≤ z) = p."""
    return NormalDist().inv_cdf(p)


def chi_squared_tail(x: float, degrees: float) -> float:
    """P(χ² > x)."""
    return 1.0 if x <= 0 else _upper_gamma(degrees / 2, x / 2)


def student_tail(t: float, degrees: float) -> float:
    """P(T > t)."""
    if math.isnan(t):
        return math.nan
    if math.isinf(t):
        return 0.0 if t > 0 else 1.0
    both = incomplete_beta(degrees / (degrees + t * t), degrees / 2, 0.5)
    return both / 2 if t > 0 else 1 - both / 2


@lru_cache(maxsize=4096)
def student_quantile(level: float, degrees: float) -> float:
    """The t with P(T > t) = level, by halving."""
    low, high = 0.0, 2.0
    while student_tail(high, degrees) > level:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if student_tail(middle, degrees) < level else (middle, high)
    return high


def _upper_gamma(a: float, x: float) -> float:
    """Regularised Q(a, x)."""
    factor = math.exp(-x + a * math.log(x) - math.lgamma(a))
    if x < a + 1:
        term = total = 1 / a
        for n in counted(1):
            term *= x / (a + n)
            total += term
            if term < total * _PRECISION:
                return 1 - total * factor
    return factor * _lentz(lambda n: 1.0 if n == 1 else -(n - 1) * (n - 1 - a), lambda n: x + 2 * n - 1 - a)


def incomplete_beta(x: float, a: float, b: float) -> float:
    """Regularised I_x(a, b)."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(1 - x, b, a)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)

    def numerator(n: int) -> float:
        if n == 1:
            return 1.0
        m, is_odd = divmod(n - 1, 2)
        if is_odd:
            return -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        return m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))

    return math.exp(log_front) / a * _lentz(numerator, lambda _: 1.0)


def _lentz(numerator: Callable[[int], float], denominator: Callable[[int], float]) -> float:
    """The continued fraction a1/(b1 + a2/(b2 + …)) by the modified Lentz method."""
    value, c, d = _TINY, _TINY, 0.0
    for n in counted(1):
        d = denominator(n) + numerator(n) * d or _TINY
        c = denominator(n) + numerator(n) / c or _TINY
        d = 1 / d
        value *= c * d
        if abs(c * d - 1) < _PRECISION or n > 10_000:
            break
    return value
