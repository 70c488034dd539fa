"""The standard normal distribution function, which NumPy lacks.

Source: W. J. Cody, "Rational Chebyshev approximations for the error function", Mathematics of Computation 23,
1969. Each interval of |z| has a rational function of its own; their relative error is below 1e-15.
"""

from __future__ import annotations

import numpy as np

__all__ = ["LARGE", "MIDDLE", "SMALL", "normal_cdf"]

# Numerator and denominator, highest power first.
# erf(z) = z R(z^2), |z| <= 0.46875
SMALL = (
    (
        1.85777706184603153e-1,
        3.16112374387056560,
        1.13864154151050156e2,
        3.77485237685302021e2,
        3.20937758913846947e3,
    ),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3),
)
# erfc(z) = exp(-z^2) R(z), 0.46875 <= z <= 4
MIDDLE = (
    (
        2.15311535474403846e-8,
        5.64188496988670089e-1,
        8.88314979438837594,
        6.61191906371416295e1,
        2.98635138197400131e2,
        8.81952221241769090e2,
        1.71204761263407058e3,
        2.05107837782607147e3,
        1.23033935479799725e3,
    ),
    (
        1.0,
        1.57449261107098347e1,
        1.17693950891312499e2,
        5.37181101862009858e2,
        1.62138957456669019e3,
        3.29079923573345963e3,
        4.36261909014324716e3,
        3.43936767414372164e3,
        1.23033935480374942e3,
    ),
)
# erfc(z) = exp(-z^2) / z (1/sqrt(pi) - R(1/z^2) / z^2), 4 <= z
LARGE = (
    (
        1.63153871373020978e-2,
        3.05326634961232344e-1,
        3.60344899949804439e-1,
        1.25781726111229246e-1,
        1.60837851487422766e-2,
        6.58749161529837803e-4,
    ),
    (
        1.0,
        2.56852019228982242,
        1.87295284992346047,
        5.27905102951428412e-1,
        6.05183413124413191e-2,
        2.33520497626869185e-3,
    ),
)
_INVERSE_SQRT_PI = 0.5641895835477563


def normal_cdf(x: np.ndarray) -> np.ndarray:
    """P(X <= x) of a standard normal X, element by element: erfc(-x / sqrt(2)) / 2, in x's dtype."""
    z = np.minimum(np.abs(x) * 0.7071067811865476, 40.0)  # beyond it erfc is 0
    with np.errstate(under="ignore"):
        near, far = np.minimum(z, 0.46875), np.maximum(z, 4.0)
        middle = np.clip(z, 0.46875, 4.0)
        tail = np.where(
            z <= 4.0,
            _rational(MIDDLE, middle),
            (_INVERSE_SQRT_PI - _rational(LARGE, 1 / (far * far)) / (far * far)) / far,
        )
        tail = 0.5 * np.exp(-z * z) * tail  # P(X > |x|)
        small = 0.5 - 0.5 * near * _rational(SMALL, near * near)
    tail = np.where(z <= 0.46875, small, tail)
    return np.where(x > 0, 1 - tail, tail)


def _rational(ratio: tuple[tuple[float, ...], tuple[float, ...]], z: np.ndarray) -> np.ndarray:
    numerator, denominator = (_polynomial(part, z) for part in ratio)
    return numerator / denominator


def _polynomial(coefficients: tuple[float, ...], z: np.ndarray) -> np.ndarray:
    value = np.full_like(z, coefficients[0])
    for coefficient in coefficients[1:]:
        value = value * z + coefficient
    return value
