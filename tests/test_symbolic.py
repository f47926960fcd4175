"""The coefficients of both theorems by a perturbation in sympy, from the definition of the kernels alone.

The activation is a centered cubic, whose bivariate Gaussian moments are sums by Isserlis' theorem; all numbers
are rational and nothing is rounded. Norms and inner products are perturbed,
``r_i = tau_0^2 + e chi_i``, ``x_i^T x_j = e w``, the fixed-point equations are solved to second order in e, and
the coefficients of w, chi_i chi_j and w^2 read off: alpha_1, alpha_2, alpha_3, or beta_1, beta_2, beta_3.
"""

from math import factorial

import pytest
import sympy as sp

from helpers import activations, equivalents
from helpers.networks import ExplicitNetwork, ImplicitNetwork

E, W, LEFT, RIGHT = sp.symbols("e w chi_i chi_j")
S, T, C = sp.symbols("s t c")
CUBICS = [
    (sp.Rational(3, 4), sp.Rational(1, 5), sp.Rational(1, 20)),
    (sp.Rational(2, 3), sp.Rational(-1, 3), sp.Rational(0)),
    (sp.Rational(1, 2), sp.Rational(0), sp.Rational(1, 10)),
]


def joint_moment(a, b):
    """E[u^a v^b] at variances s, t and covariance c: the sum over the pairings of a and b factors."""
    total = sp.Integer(0)
    for j in range(min(a, b) + 1):
        if (a - j) % 2 or (b - j) % 2:
            continue
        i, k = (a - j) // 2, (b - j) // 2
        pairings = sp.Rational(
            factorial(a) * factorial(b),
            factorial(j) * factorial(i) * factorial(k) * 2 ** (i + k),
        )
        total += pairings * S**i * T**k * C**j
    return total


def dual(powers):
    """E[phi(u) phi(v)] and E[phi'(u) phi'(v)] of a polynomial by its coefficients, as polynomials in s, t, c."""
    derived = [k * a for k, a in enumerate(powers)][1:]
    return tuple(
        sp.expand(sum(x * y * joint_moment(i, k) for i, x in enumerate(f) for k, y in enumerate(f)))
        for f in (powers, derived)
    )


def centered(cubic, variance):
    """Coefficients of the cubic whose constant makes its mean zero at a variance."""
    first, second, third = cubic
    return [-second * variance, first, second, third]


def order_two(expression):
    """The coefficients of e and of e^2 of a polynomial in e, without what is of higher order."""
    series = sp.Poly(sp.expand(expression), E)
    return series.coeff_monomial(E), series.coeff_monomial(E**2)


def three(expression):
    """Coefficients of w (first order), of chi_i chi_j and of w^2 (second order)."""
    first, second = order_two(expression)
    second = sp.Poly(sp.expand(second), W, LEFT, RIGHT)
    return (
        sp.Poly(sp.expand(first), W, LEFT, RIGHT).coeff_monomial(W),
        second.coeff_monomial(LEFT * RIGHT),
        second.coeff_monomial(W**2),
    )


def cut(expression):
    """A polynomial in e without its terms beyond the second order."""
    series = sp.Poly(sp.expand(expression), E)
    return sum(series.coeff_monomial(E**k) * E**k for k in range(3))


def solved(equation, start):
    """The series in e, to second order, of the root of ``equation(x) = x`` that begins at ``start``."""
    x = start
    for k in (1, 2):
        unknown = sp.Symbol("unknown")
        gap = sp.Poly(sp.expand(equation(x + unknown * E**k) - x - unknown * E**k), E)
        (value,) = sp.solve(gap.coeff_monomial(E**k), unknown)
        x = x + sp.expand(value) * E**k
    return x


def quotient(above, below):
    """above/below to second order in e, by undetermined coefficients."""
    top, low = (sp.Poly(sp.expand(v), E) for v in (above, below))
    a, b = ([p.coeff_monomial(E**k) for k in range(3)] for p in (top, low))
    q0 = a[0] / b[0]
    q1 = (a[1] - q0 * b[1]) / b[0]
    q2 = (a[2] - q0 * b[2] - q1 * b[1]) / b[0]
    return sp.expand(q0 + q1 * E + q2 * E**2)


def deq(cubic, a2, b2, tau2):
    """All coefficients of a DEQ with tau_*^2 = tau2, and the tau_0^2 that makes it so."""
    value, slope = dual(centered(cubic, tau2))
    square = value.subs({T: S, C: S})  # E[phi^2] in s
    steep = slope.subs({T: S, C: S})
    gamma2, p2 = square.subs(S, tau2), steep.subs(S, tau2)
    norm2 = (tau2 - a2 * gamma2) / b2

    def variance(chi):
        return solved(lambda s: a2 * square.subs(S, s) + b2 * (norm2 + E * chi), tau2)

    s, t = variance(LEFT), variance(RIGHT)
    c = solved(lambda c: a2 * value.subs({S: s, T: t, C: c}) + b2 * E * W, sp.Integer(0))
    kernel, dotted = (cut(f.subs({S: s, T: t, C: c})) for f in (value, slope))
    found = {"tau0": sp.sqrt(norm2), "tau2": tau2, "gamma2": gamma2, "alpha": three(kernel)}
    found["default"] = three(quotient(kernel, 1 - a2 * dotted)), gamma2 / (1 - a2 * p2)
    added = cut(b2 * E * W * dotted)
    found["all"] = (
        three(quotient(kernel + added, 1 - a2 * dotted)),
        (gamma2 + b2 * norm2 * p2) / (1 - a2 * p2),
    )
    return found


def assert_agree(c, alpha, beta, gamma2, kappa2):
    names = ("alpha1", "alpha2", "alpha3", "beta1", "beta2", "beta3", "gamma2", "kappa2")
    for name, wanted in zip(names, (*alpha, *beta, gamma2, kappa2), strict=True):
        assert getattr(c, name) == pytest.approx(float(wanted), rel=1e-11, abs=1e-14), name


@pytest.mark.parametrize("cubic", CUBICS)
@pytest.mark.parametrize("trained", ["default", "all"])
@pytest.mark.parametrize("a2", [sp.Rational(0), sp.Rational(1, 5), sp.Rational(1, 2)])
def test_coefficients_of_a_deq_from_its_perturbed_equations(cubic, trained, a2):
    b2, tau2 = sp.Rational(7, 10), sp.Rational(6, 5)
    exact = deq(cubic, a2, b2, tau2)
    phi = activations.get("polynomial", coefficients=[float(a) for a in (0, *cubic)])
    tau0 = float(exact["tau0"])
    network = ImplicitNetwork(phi, float(a2), float(b2)).centered(tau0)
    c = equivalents.coefficients(network, tau0, trained)
    assert c.tau**2 == pytest.approx(float(tau2), rel=1e-12)
    beta, kappa2 = exact[trained]
    assert_agree(c, exact["alpha"], beta, exact["gamma2"], kappa2)


def stack(cubics, rates, norm2):
    """The same of a stack of layers, by the recursion of its kernels."""
    s, t, c = norm2 + E * LEFT, norm2 + E * RIGHT, E * W
    theta, variance, kappa2 = rates[0] * c, norm2, rates[0] * norm2
    for cubic, rate in zip(cubics, rates[1:], strict=True):
        value, slope = dual(centered(cubic, variance))
        square, steep = (f.subs({T: S, C: S}) for f in (value, slope))
        place = {S: s, T: t, C: c}
        c, theta = (
            cut(value.subs(place, simultaneous=True)),
            cut(
                rate * cut(value.subs(place, simultaneous=True))
                + theta * cut(slope.subs(place, simultaneous=True))
            ),
        )
        s, t = cut(square.subs(S, s)), cut(square.subs(S, t))
        kappa2 = rate * square.subs(S, variance) + kappa2 * steep.subs(S, variance)
        variance = square.subs(S, variance)
    return three(c), three(theta), variance, kappa2


@pytest.mark.parametrize("rates", [(1, 1, 1), (0, 1, 1), (sp.Rational(1, 2), 2, sp.Rational(1, 3))])
def test_coefficients_of_a_stack_from_its_perturbed_recursion(rates):
    cubics, norm2 = CUBICS[:2], sp.Rational(9, 4)
    alpha, beta, gamma2, kappa2 = stack(cubics, rates, norm2)
    layers = tuple(
        activations.get("polynomial", coefficients=[float(a) for a in (0, *cubic)])
        for cubic in cubics
    )
    network = ExplicitNetwork(layers).centered(1.5)
    c = equivalents.coefficients(network, 1.5, tuple(float(rate) for rate in rates))
    assert_agree(c, alpha, beta, gamma2, kappa2)
