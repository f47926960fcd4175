r"""Networks as the formulas that a paper prints, in plain text and in LaTeX.

An explicit network is one line a layer, :math:`x^{(l)} = \varphi_l(W_l x^{(l-1)})/\sqrt{m_l}`, an
implicit one is its fixed point and its preactivation u. Every formula is written once, for a *style*
that knows how text or LaTeX says a sum, a fraction, a power.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from helpers import pairs, recipes
from helpers.activations import Activation
from helpers.checks import integer

if TYPE_CHECKING:  # the records print themselves by this module
    from helpers.networks import ExplicitNetwork, ImplicitNetwork

MAX_DIGITS = 17  # as many as tell two doubles apart


def text(network: ImplicitNetwork | ExplicitNetwork, digits: int = 4) -> str:
    r"""A network as plain text, such as ``x1 = (max(W1 x, 0) - 0.3989)/sqrt(m1)``.

    Products stand without a sign, ``^`` is a power entry by entry, and ``h0, h1, …`` are the orthonormal
    Hermite polynomials.

    Parameters
    ----------
    network : ImplicitNetwork or ExplicitNetwork
    digits : int
        Significant digits of every number, 1 to 17.

    Returns
    -------
    str
        One line an equation.

    Raises
    ------
    TypeError, ValueError
        If ``network`` is no network, or for digits outside their range.
    """
    equations = _equations(network, _Text(_digits(digits)))
    return "\n".join(f"{left} = {right}" for left, right in equations)


def latex(network: ImplicitNetwork | ExplicitNetwork, digits: int = 4) -> str:
    r"""A network as LaTeX without dollar signs; ``aligned`` if it takes more than one equation.

    Parameters, returns and errors as :func:`text`, for example
    ``x^{(1)} = \frac{1}{\sqrt{m_1}} \left(\max(W_1 x, 0) - 0.3989\right)``.

    Parameters
    ----------
    network : ImplicitNetwork or ExplicitNetwork
    digits : int
        Of every number.
    """
    equations = _equations(network, _Latex(_digits(digits)))
    if len(equations) == 1:
        return " = ".join(equations[0])
    lines = r" \\ ".join(f"{left} &= {right}" for left, right in equations)
    return rf"\begin{{aligned}} {lines} \end{{aligned}}"


def _digits(digits: int) -> int:
    if integer(digits, "digits", 1) > MAX_DIGITS:
        raise ValueError(f"digits must be at most {MAX_DIGITS}; it is {digits}")
    return int(digits)


# --- styles: how a formula is written ---------------------------------------------------------------


@dataclass(frozen=True)
class _Text:
    digits: int

    def number(self, value: float) -> str:
        return f"{value + 0.0:.{self.digits}g}"  # + 0.0 turns -0.0 into 0.0

    def indexed(self, letter: str, index: int | str) -> str:
        return f"{letter}{index}"

    def state(self, layer: int) -> str:
        return f"x{layer}"

    def apply(self, matrix: str, vector: str) -> str:
        return f"{matrix} {vector}"

    def call(self, name: str, *arguments: str) -> str:
        return f"{name}({', '.join(arguments)})"

    def absolute(self, u: str) -> str:
        return f"|{u}|"

    def fraction(self, above: str, below: str) -> str:
        return f"{_enclosed(above)}/{_enclosed(below)}"

    def power(self, base: str, exponent: int) -> str:
        return f"{_enclosed(base)}^{exponent}"

    def exp(self, exponent: str) -> str:
        return f"exp({exponent})"

    def over_root(self, value: str, width: str) -> str:
        return f"{_enclosed(value)}/sqrt({width})"

    def product(self, *factors: str) -> str:
        return " ".join(_enclosed(f) if _is_sum(f) else f for f in factors)

    def indicator(self, u: str) -> str:
        return f"1{{{u} >= 0}}"


@dataclass(frozen=True)
class _Latex(_Text):
    def number(self, value: float) -> str:
        mantissa, _, exponent = super().number(value).partition("e")
        return rf"{mantissa} \cdot 10^{{{int(exponent)}}}" if exponent else mantissa

    def indexed(self, letter: str, index: int | str) -> str:
        return f"{letter}_{{{index}}}" if len(str(index)) > 1 else f"{letter}_{index}"

    def state(self, layer: int) -> str:
        return f"x^{{({layer})}}"

    def call(self, name: str, *arguments: str) -> str:
        command = _COMMANDS.get(name) or rf"\operatorname{{{_escaped(name)}}}"
        return f"{command}({', '.join(arguments)})"

    def absolute(self, u: str) -> str:
        return rf"\lvert {u} \rvert"

    def fraction(self, above: str, below: str) -> str:
        return rf"\frac{{{above}}}{{{below}}}"

    def power(self, base: str, exponent: int) -> str:
        return f"{_enclosed(base)}^{{{exponent}}}"

    def exp(self, exponent: str) -> str:
        return f"e^{{{exponent}}}"

    def over_root(self, value: str, width: str) -> str:
        bare = not (_is_sum(value) or value[0].isdigit())
        inside = value if bare else rf"\left({value}\right)"
        return rf"\frac{{1}}{{\sqrt{{{width}}}}} {inside}"

    def product(self, *factors: str) -> str:
        return r"\,".join(_enclosed(f) if _is_sum(f) else f for f in factors)

    def indicator(self, u: str) -> str:
        return rf"\mathbf{{1}}\{{{u} \ge 0\}}"


_COMMANDS = {
    "max": r"\max",
    "min": r"\min",
    "sin": r"\sin",
    "cos": r"\cos",
    "tanh": r"\tanh",
    "log": r"\ln",
    "Phi": r"\Phi",
    "phi": r"\varphi",
    **{f"h{k}": f"h_{{{k}}}" if k > 9 else f"h_{k}" for k in range(41)},
}


def _escaped(name: str) -> str:
    """A function's name inside TeX; what is no letter, digit or underscore is left out."""
    kept = "".join(c for c in name if c.isalnum() or c == "_")
    return kept.replace("_", r"\_") or "f"


def _is_sum(formula: str) -> bool:
    """Whether a + or - joins terms outside every bracket, or a minus sign leads."""
    depth = 0
    for i, c in enumerate(formula):
        depth += (c in "([{") - (c in ")]}")
        if depth == 0 and (formula[i : i + 3] in (" + ", " - ") or (c == "-" and i == 0)):
            return True
    return False


def _enclosed(formula: str) -> str:
    """A formula in parentheses, unless it is one symbol or number, or one call."""
    if formula.replace(".", "").replace("_", "").isalnum():
        return formula
    return formula if _is_call(formula) else f"({formula})"


def _is_call(formula: str) -> bool:
    """Whether the formula is a plain name before one pair of parentheses."""
    name, _, rest = formula.partition("(")
    depth = 1
    for i, c in enumerate(rest):
        depth += (c == "(") - (c == ")")
        if depth == 0:
            return name.isidentifier() and i == len(rest) - 1
    return False


def _sum(style: _Text, terms: Iterable[tuple[float, str]]) -> str:
    """The sum of ``coefficient * symbol``, zeros left out; an empty symbol is a constant."""
    formula = ""
    for value, symbol in terms:
        if value == 0:
            continue
        size = style.number(abs(value))
        if symbol:
            size = symbol if size == "1" else style.product(size, symbol)
        sign = "-" if value < 0 else "+"
        formula = f"{formula} {sign} {size}" if formula else ("-" if value < 0 else "") + size
    return formula or "0"


# --- networks ---------------------------------------------------------------------------------------


def _equations(network: ImplicitNetwork | ExplicitNetwork, style: _Text) -> list[tuple[str, str]]:
    if hasattr(network, "layers"):
        return _layers(network.layers, style)
    if hasattr(network, "activation") and hasattr(network, "sigma_a2"):
        u = _sum(
            style,
            [
                (network.sigma_a2**0.5, style.apply("A", "h")),
                (network.sigma_b2**0.5, style.apply("B", "x")),
            ],
        )
        state = style.over_root(centered(network.activation, "u", style), "m")
        return [("h", state), ("u", u)]
    raise TypeError(f"network must be an ImplicitNetwork or an ExplicitNetwork, got {network!r}")


def _layers(layers: tuple[Activation, ...], style: _Text) -> list[tuple[str, str]]:
    """One equation a layer, and one more for a preactivation that its formula needs more than twice."""
    equations = []
    for l, layer in enumerate(layers, start=1):
        symbol = style.indexed("u", l)
        inline = style.apply(style.indexed("W", l), style.state(l - 1) if l > 1 else "x")
        name = symbol if _needs(layer) > 2 else inline
        value = centered(layer, name, style)
        equations.append((style.state(l), style.over_root(value, style.indexed("m", l))))
        if name == symbol:
            equations.append((symbol, inline))
    return equations


def _needs(activation: Activation) -> int:
    """How often the formula of an activation names its argument."""
    return centered(activation, "@", _Text(4)).count("@")


# --- activations ------------------------------------------------------------------------------------


def centered(activation: Activation, u: str, style: _Text) -> str:
    """The formula of an activation at the argument ``u``, its shift subtracted, written in a ``style``."""
    body, constant = _parts(activation, u, style)
    total = constant - activation.shift
    if abs(total) < 1e-13 * abs(constant):  # rounding of two constants that cancel
        total = 0.0
    return _sum(style, [(1.0, body), (total, "")])


def _parts(activation: Activation, u: str, style: _Text) -> tuple[str, float]:
    """Formula and constant of an activation before its shift.

    By name where the name says all, by the slopes of a piecewise linear callable, or its mere name.
    """
    if recipes.named(activation) and activation.name in _FORMULAS:
        formula = _FORMULAS[activation.name](style, u, **dict(activation.parameters))
        return formula if isinstance(formula, tuple) else (formula, 0.0)
    if isinstance(activation.family, (pairs.Rectifier, pairs.Hinges)):
        return _hinges(style, u, activation)
    own_name = activation.name.isidentifier() and activation.name not in _FORMULAS
    return style.call(activation.name if own_name else "phi", u), 0.0


def _leaky_relu(style: _Text, u: str, a: float, b: float) -> str:
    if a == b:
        return _sum(style, [(a, u)])
    if a == -b:
        return _sum(style, [(a, style.absolute(u))])
    arguments = [_sum(style, [(slope, u)]) for slope in (a, b)]
    return style.call("max" if a > b else "min", *arguments)


def _hard_tanh(style: _Text, u: str, a: float, c: float) -> str:
    clipped = style.call("min", style.call("max", u, style.number(-c)), style.number(c))
    return _sum(style, [(a, clipped)])


def _clipped_leaky_relu(style: _Text, u: str, a: float, b: float, c: float) -> str:
    right = style.call("min", style.call("max", u, "0"), style.number(c))
    left = style.call("max", style.call("min", u, "0"), style.number(-c))
    return _sum(style, [(a, right), (b, left)])


def _leaky_hard_tanh(style: _Text, u: str, a: float, b: float, c: float) -> str:
    return _sum(style, [(a - b, _hard_tanh(style, u, 1.0, c)), (b, u)])


def _polynomial(style: _Text, u: str, coefficients: tuple[float, ...]) -> tuple[str, float]:
    powers = [u, *(style.power(u, k) for k in range(2, len(coefficients)))]
    return _sum(style, zip(coefficients[1:], powers)), coefficients[0]


def _hermite(style: _Text, u: str, coefficients: tuple[float, ...]) -> tuple[str, float]:
    """In h_k; h_0 is the constant 1 and h_1 the argument itself."""
    names = [u, *(style.call(f"h{k}", u) for k in range(2, len(coefficients)))]
    return _sum(style, zip(coefficients[1:], names)), coefficients[0]


def _elu(style: _Text, u: str) -> tuple[str, float]:
    return f"{style.call('max', u, '0')} + {style.exp(style.call('min', u, '0'))}", -1.0


def _hinges(style: _Text, u: str, activation: Activation) -> tuple[str, float]:
    """A slope and a ramp at every knot, and the constant."""
    family = activation.family
    if isinstance(family, pairs.Rectifier):
        family = pairs.Hinges(family.b, (0.0,), (family.a - family.b,))
    assert isinstance(family, pairs.Hinges)
    ramps = [
        (jump, style.call("max", _sum(style, [(1.0, u), (-knot, "")]), "0"))
        for knot, jump in zip(family.knots, family.jumps)
    ]
    at_zero = float(activation.function(np.zeros(1))[0])
    constant = at_zero - sum(j * max(-k, 0.0) for k, j in zip(family.knots, family.jumps))
    constant = 0.0 if abs(constant) < 1e-12 else constant  # rounding of a kink that was looked for
    return _sum(style, [(family.slope, u), *ramps]), constant


_FORMULAS: dict[str, Callable[..., str | tuple[str, float]]] = {
    "relu": lambda style, u: style.call("max", u, "0"),
    "abs": lambda style, u: style.absolute(u),
    "sign": lambda style, u: style.call("sign", u),
    "step": lambda style, u: style.indicator(u),
    "erf": lambda style, u: style.call("erf", u),
    "sin": lambda style, u: style.call("sin", u),
    "cos": lambda style, u: style.call("cos", u),
    "tanh": lambda style, u: style.call("tanh", u),
    "gaussian": lambda style, u: style.exp(f"-{style.power(u, 2)}/2"),
    "sigmoid": lambda style, u: style.fraction("1", f"1 + {style.exp(f'-{u}')}"),
    "softplus": lambda style, u: style.call("log", f"1 + {style.exp(u)}"),
    "swish": lambda style, u: style.fraction(u, f"1 + {style.exp(f'-{u}')}"),
    "gelu": lambda style, u: style.product(_enclosed(u), style.call("Phi", u)),
    "elu": _elu,
    "leaky_relu": _leaky_relu,
    "hard_tanh": _hard_tanh,
    "leaky_hard_tanh": _leaky_hard_tanh,
    "clipped_leaky_relu": _clipped_leaky_relu,
    "polynomial": _polynomial,
    "hermite": _hermite,
}
