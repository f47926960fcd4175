r"""Networks that leave the package: as a ``torch.nn.Sequential``, and as a file that holds no code.

:func:`sequential` turns a twin of finite width into a stack of ``Linear`` and of torch's own activations;
:func:`save` and :func:`load` keep a network, with or without its weights, in one zip file of a JSON
record and plain arrays.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from helpers import finite, pairs, recipes
from helpers.activations import Activation
from helpers.checks import as_real_array
from helpers.files import whole
from helpers.finite import ExplicitModule, ImplicitModule
from helpers.networks import ExplicitNetwork, ImplicitNetwork

__all__ = [
    "Affine",
    "Elementwise",
    "Jump",
    "PiecewiseLinear",
    "Polynomial",
    "load",
    "save",
    "sequential",
]

Network = ImplicitNetwork | ExplicitNetwork
Module = ImplicitModule | ExplicitModule
FORMAT, VERSION = "implicit-meets-explicit network", 1
RECORD = "network.json"


# --- modules that torch does not have ---------------------------------------------------------------


class Affine(nn.Module):
    """``scale * x + offset`` with two constants: what no Linear is left to take up."""

    def __init__(self, scale: float, offset: float) -> None:
        super().__init__()
        self.scale, self.offset = scale, offset

    def forward(self, x: Tensor) -> Tensor:
        """``scale * x + offset``, elementwise."""
        return self.scale * x + self.offset

    def extra_repr(self) -> str:
        """What ``print`` shows of it."""
        return f"scale={self.scale:.4g}, offset={self.offset:.4g}"


class Jump(nn.Module):
    """``high`` where x is 0 or positive, ``low`` elsewhere: sign and step. Its gradient is zero."""

    def __init__(self, high: float, low: float) -> None:
        super().__init__()
        self.high, self.low = high, low

    def forward(self, x: Tensor) -> Tensor:
        """``high`` or ``low`` by the sign of each entry of ``x``."""
        return torch.where(x >= 0, x.new_tensor(self.high), x.new_tensor(self.low)) + 0 * x

    def extra_repr(self) -> str:
        """What ``print`` shows of it."""
        return f"high={self.high:.4g}, low={self.low:.4g}"


class PiecewiseLinear(nn.Module):
    r""":math:`b x + \sum_k d_k (x - x_k)_+` with slope b, knots :math:`x_k` and jumps of the slope :math:`d_k`."""

    def __init__(self, slope: float, knots: Sequence[float], jumps: Sequence[float]) -> None:
        super().__init__()
        self.slope, self.knots, self.jumps = slope, tuple(knots), tuple(jumps)

    def forward(self, x: Tensor) -> Tensor:
        """The piecewise linear function of each entry of ``x``."""
        ramps = [jump * torch.relu(x - knot) for knot, jump in zip(self.knots, self.jumps)]
        return self.slope * x + sum(ramps)

    def extra_repr(self) -> str:
        """What ``print`` shows of it."""
        return f"slope={self.slope:.4g}, knots={self.knots}, jumps={self.jumps}"


class Polynomial(nn.Module):
    r"""A polynomial by its coefficients, from the constant upward.

    Parameters
    ----------
    coefficients : sequence of float
    basis : {"monomial", "hermite"}
        Of the powers of x, by Horner's rule, or of the orthonormal Hermite polynomials, by Clenshaw's:
        :math:`\sqrt{k+1}\,h_{k+1}(x) = x h_k(x) - \sqrt k\,h_{k-1}(x)`.
    """

    def __init__(self, coefficients: Sequence[float], basis: str = "monomial") -> None:
        super().__init__()
        if basis not in ("monomial", "hermite"):
            raise ValueError(f'basis must be "monomial" or "hermite", got {basis!r}')
        self.coefficients, self.basis = tuple(coefficients), basis

    def forward(self, x: Tensor) -> Tensor:
        """The polynomial of each entry of ``x``."""
        here, above = torch.zeros_like(x), torch.zeros_like(x)
        for k, c in reversed(list(enumerate(self.coefficients))):
            if self.basis == "monomial":
                here = c + x * here
            else:
                step = x * (here / (k + 1) ** 0.5) - ((k + 1) / (k + 2)) ** 0.5 * above
                here, above = c + step, here
        return here

    def extra_repr(self) -> str:
        """What ``print`` shows of it."""
        return f"degree={len(self.coefficients) - 1}, basis={self.basis!r}"


class Elementwise(nn.Module):
    """A function of torch that has no module: "sin", "cos", "erf", or "gaussian", which is exp(-x²/2)."""

    def __init__(self, name: str) -> None:
        super().__init__()
        if name not in _ELEMENTWISE:
            raise ValueError(f"name must be one of {', '.join(_ELEMENTWISE)}, got {name!r}")
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        """The function of each entry of ``x``."""
        return _ELEMENTWISE[self.name](x)

    def extra_repr(self) -> str:
        """What ``print`` shows of it."""
        return self.name


_ELEMENTWISE: dict[str, Callable[[Tensor], Tensor]] = {
    "sin": torch.sin,
    "cos": torch.cos,
    "erf": torch.special.erf,
    "gaussian": lambda x: torch.exp(-(x**2) / 2),
}


# --- a Sequential -----------------------------------------------------------------------------------


def sequential(
    network: ExplicitNetwork | ExplicitModule,
    p: int | None = None,
    m: int | Sequence[int] | None = None,
    seed: int | None = None,
    readout: bool | ArrayLike | Tensor | None = None,
) -> nn.Sequential:
    r"""An explicit network as Linear layers and torch's own activations, for use outside the package.

    **Rows are samples here**, the convention of torch: the Sequential maps (n, p) to (n, m), where the
    package's ``features`` map (p, n) to (m, n), so that ``sequential(module)(X.T).T`` is
    ``module.features(X)``. The factors :math:`1/\sqrt{m_l}` and an activation's scales are folded into the
    weights, shifts into the bias of the next Linear; where nothing follows, an :class:`Affine` ends it.
    Outputs are the same; gradients in the weights are not, the scales are no longer in front of them.

    Parameters
    ----------
    network : ExplicitNetwork or ExplicitModule
        A module of :func:`helpers.finite.realize` brings its weights, which are copied.
    p, m, seed
        For a network alone: dimension, width or widths, and seed, as in :func:`helpers.finite.realize`.
    readout : True or array, optional
        A last Linear: True for the module's own r, with outputs (n, 1), or weights (m,) or (K, m), such as
        fitted ones, with outputs (n, K).

    Returns
    -------
    torch.nn.Sequential
        In the module's precision, on its device.

    Raises
    ------
    ValueError, TypeError
        For an implicit network, which is no finite stack of layers; an activation that has no module; a
        readout of another width; p, m, seed missing, or given with a module.
    """
    module = _explicit_module(network, p, m, seed)
    steps: list[nn.Module] = []
    scale, offset, biases = 1.0, 0.0, getattr(module, "b", [None] * len(module.W))
    for W, b, width, layer in zip(module.W, biases, module.m, module.network.layers):
        part = _part(layer)
        bias = None if b is None else module.bias * b.detach()
        steps += [_linear(part.inner, W.detach(), scale, offset, bias), part.module]
        scale = part.outer / width**0.5
        offset = (part.constant - layer.shift) / width**0.5
    own = _readout(readout, module)
    steps.append(Affine(scale, offset) if own is None else _linear(1.0, own, scale, offset, None))
    return nn.Sequential(*steps)


def _explicit_module(
    network: ExplicitNetwork | ExplicitModule,
    p: int | None,
    m: int | Sequence[int] | None,
    seed: int | None,
) -> ExplicitModule:
    """The module at hand, or one realized."""
    if isinstance(network, (ImplicitNetwork, ImplicitModule)):
        raise TypeError(
            "network must be explicit: an equilibrium is no finite stack of layers; export its twin, "
            "matching.match(network, tau0).network"
        )
    given = [name for name, value in (("p", p), ("m", m), ("seed", seed)) if value is not None]
    if isinstance(network, ExplicitModule):
        if given:
            raise ValueError(f"{', '.join(given)} must not be given with a module, which has them")
        return network
    if not isinstance(network, ExplicitNetwork):
        raise TypeError(f"network must be an ExplicitNetwork or its module, got {network!r}")
    if p is None or m is None or seed is None:
        raise ValueError("p, m and seed must be given with a network: they draw its weights")
    return finite.realize(network, p, m, seed)  # type: ignore[return-value]  # explicit, as the network is


def _readout(readout: bool | ArrayLike | Tensor | None, module: ExplicitModule) -> Tensor | None:
    """Weights (K, m) of the readout, None without one."""
    if readout is None or readout is False:
        return None
    if readout is True:
        return module.r.detach()[None]
    values = readout.detach().cpu().numpy() if isinstance(readout, Tensor) else readout
    weights = np.atleast_2d(as_real_array(values, "readout"))
    if weights.ndim != 2 or weights.shape[1] != module.m[-1] or not len(weights):
        raise ValueError(
            f"readout must be ({module.m[-1]},) or (K, {module.m[-1]}) weights, its shape is "
            f"{np.shape(values)}"
        )
    return torch.as_tensor(weights).to(module.r)


def _linear(inner: float, W: Tensor, scale: float, offset: float, bias: Tensor | None) -> nn.Linear:
    """``inner * (W (scale * x + offset) + bias)`` as one Linear, without a bias where it is zero."""
    constant = offset * W.sum(dim=1) if offset else None
    if bias is not None:
        constant = bias if constant is None else constant + bias
    linear: nn.Linear = nn.utils.skip_init(
        nn.Linear, W.shape[1], W.shape[0], constant is not None, device=W.device, dtype=W.dtype
    )
    with torch.no_grad():
        linear.weight.copy_(inner * scale * W)
        if constant is not None:
            linear.bias.copy_(inner * constant)
    return linear


@dataclass(frozen=True)
class _Part:
    """An activation before its shift as ``outer * module(inner * u) + constant``."""

    module: nn.Module
    inner: float = 1.0
    outer: float = 1.0
    constant: float = 0.0


def _part(activation: Activation) -> _Part:
    """The module of an activation, held against its values on a few points."""
    part = _piecewise(activation) or _smooth(activation)
    x = np.linspace(-4.03, 4.09, 41)
    if part is not None:
        value = part.outer * part.module(torch.as_tensor(part.inner * x)) + part.constant
        if np.allclose(value.numpy(), activation.function(x), rtol=1e-12, atol=1e-12):
            return part
    raise ValueError(
        f"activation {activation.name} has no module: only named activations and piecewise linear ones do; "
        'use one of activations.names(), or a polynomial near it, activations.get("polynomial", coefficients=…)'
    )


def _piecewise(activation: Activation) -> _Part | None:
    """ReLU, LeakyReLU, Hardtanh, a jump, or what has more knots; None for smooth functions."""
    family = activation.family
    at_zero = float(activation.function(np.zeros(1))[0])
    if isinstance(family, pairs.Jump):
        return _Part(Jump(family.a, family.b))
    if isinstance(family, pairs.Rectifier):
        return _rectifier(family.a, family.b, at_zero)
    if not isinstance(family, pairs.Hinges):
        return None
    knots, jumps = family.knots, family.jumps
    if family.slope == 0 and len(knots) == 2 and jumps[0] == -jumps[1]:
        clip = nn.Hardtanh(*knots)
        return _Part(clip, 1.0, jumps[0], at_zero - jumps[0] * float(clip(torch.zeros(()))))
    bent = PiecewiseLinear(family.slope, knots, jumps)
    return _Part(bent, constant=at_zero - float(bent(torch.zeros(1, dtype=torch.float64))))


def _rectifier(a: float, b: float, at_zero: float) -> _Part:
    """Slopes a right and b left of zero: ``a * LeakyReLU`` of slope b/a, or ``-b * ReLU(-x)`` for a = 0."""
    if a == 0:
        return _Part(nn.ReLU(), -1.0, -b, at_zero)
    return _Part(nn.LeakyReLU(b / a) if b else nn.ReLU(), 1.0, a, at_zero)


def _smooth(activation: Activation) -> _Part | None:
    if not recipes.named(activation):
        return None
    if activation.name in _STANDARD:
        return _Part(_STANDARD[activation.name]())
    if activation.name in _ELEMENTWISE:
        return _Part(Elementwise(activation.name))
    basis = {"polynomial": "monomial", "hermite": "hermite"}.get(activation.name)
    if basis is None:
        return None
    constant, *others = dict(activation.parameters)["coefficients"]  # type: ignore[misc]  # of a polynomial, a tuple
    return _Part(Polynomial((0.0, *others), basis), constant=constant)


_STANDARD: dict[str, Callable[[], nn.Module]] = {
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softplus": lambda: nn.Softplus(threshold=40.0),  # beyond it, x is the value to rounding
    "swish": nn.SiLU,
    "gelu": nn.GELU,
    "elu": nn.ELU,
}


# --- files ------------------------------------------------------------------------------------------


def save(network: Network | Module, path: str | os.PathLike[str]) -> Path:
    """Write a network, or a module with its weights, to one file; whole or not at all.

    The file is a zip of ``network.json`` (activations by name, parameters and shift; variances; the scale
    of centering; every number to the last bit) and, for a module, one ``.npy`` array a parameter. Nothing
    in it is code, and nothing is pickled. An existing file is replaced at the very end.

    Parameters
    ----------
    network : ImplicitNetwork, ExplicitNetwork, ImplicitModule or ExplicitModule
    path : str or path-like
        Taken as it is, no ending is added; its folder must exist.

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        For an activation that is a callable, or weights that are neither float32 nor float64.
    TypeError
        For anything else than the four.
    OSError
        If the file cannot be written; the one that was there is left as it was.
    """
    if isinstance(network, (ImplicitModule, ExplicitModule)):
        record = _network_record(network.network) | {"module": _module_record(network)}
        arrays = {name: _stored(name, value) for name, value in network.named_parameters()}
    elif isinstance(network, (ImplicitNetwork, ExplicitNetwork)):
        record, arrays = _network_record(network), {}
    else:
        raise TypeError(
            "network must be an ImplicitNetwork, an ExplicitNetwork or a module of finite.realize, "
            f"got {type(network).__name__}"
        )
    return _write(record, arrays, Path(path))


def load(path: str | os.PathLike[str], device: str | torch.device = "cpu") -> Network | Module:
    """The network or module that :func:`save` wrote, the same to the last bit.

    Parameters
    ----------
    path : str or path-like
    device : str or torch.device
        Where a module's weights go.

    Returns
    -------
    ImplicitNetwork, ExplicitNetwork, ImplicitModule or ExplicitModule

    Raises
    ------
    ValueError
        For a file that is damaged, cut off, of another kind, or of a later version; it names the file.
    OSError
        If the file is missing or cannot be read.
    """
    content = Path(path).read_bytes()
    try:
        record, arrays = _parse(content)
        network, module = _network(record), None
        if "module" in record:
            module = _module(network, record["module"], arrays)
        elif arrays:
            raise ValueError("it has weights, but no module that they belong to")
    except Exception as error:  # a damaged file may fail at any depth
        raise ValueError(f"{path} is not a network that export.save wrote: {error}") from error
    return network if module is None else module.to(device)


def _network_record(network: Network) -> dict[str, Any]:
    """What makes a network, ready for JSON."""
    head = {"format": FORMAT, "version": VERSION, "tau0": network.tau0 and float(network.tau0)}
    if isinstance(network, ExplicitNetwork):
        layers = [recipes.recipe(layer) for layer in network.layers]
        return head | {"kind": "explicit", "layers": layers}
    return head | {
        "kind": "implicit",
        "activation": recipes.recipe(network.activation),
        "sigma_a2": network.sigma_a2,
        "sigma_b2": network.sigma_b2,
    }


def _network(record: dict[str, Any]) -> Network:
    if record["version"] != VERSION:
        raise ValueError(f"it is of version {record['version']!r}, this package reads {VERSION}")
    tau0 = record["tau0"]
    if record["kind"] == "explicit":
        return ExplicitNetwork(tuple(recipes.made(layer) for layer in record["layers"]), tau0)
    if record["kind"] == "implicit":
        activation = recipes.made(record["activation"])
        return ImplicitNetwork(activation, record["sigma_a2"], record["sigma_b2"], tau0)
    raise ValueError(f"its kind is {record['kind']!r}, not implicit or explicit")


def _module_record(module: Module) -> dict[str, Any]:
    """What a module has beside its network and its weights."""
    record: dict[str, Any] = {"p": module.p, "m": module.m, "bias": module.bias}
    record["frozen"] = [name for name, w in module.named_parameters() if not w.requires_grad]
    if isinstance(module, ImplicitModule):
        record["solver"] = dataclasses.asdict(module.solver)
    return record


def _module(network: Network, record: dict[str, Any], arrays: dict[str, np.ndarray]) -> Module:
    """A module with the stored weights in place of drawn ones."""
    shapes = {name: array.shape for name, array in arrays.items()}
    if shapes != _shapes(network, record["p"], record["m"], record["bias"]):
        raise ValueError(f"its weights have the shapes {shapes}, which are not the network's")
    weights = {name: torch.from_numpy(array) for name, array in arrays.items()}
    solver = finite.Solver(**record["solver"]) if "solver" in record else None
    bias, dtype = record["bias"], weights["r"].dtype
    module = finite.realize(
        network, record["p"], record["m"], 0, bias=bias, solver=solver, dtype=dtype
    )
    if any(w.dtype != dtype for w in weights.values()):
        raise ValueError("its weights are of different precisions")
    module.load_state_dict(weights)
    for name in record["frozen"]:
        module.get_parameter(name).requires_grad_(False)
    return module


def _shapes(network: Network, p: int, m: Any, bias: float) -> dict[str, tuple[int, ...]]:
    """Of the parameters that a module has: looked at before anything of that size is drawn."""
    if isinstance(network, ImplicitNetwork):
        return {"A": (m, m), "B": (m, p), "r": (m,)} | ({"b": (m,)} if bias else {})
    shapes: dict[str, tuple[int, ...]] = {"r": (m[-1],)}
    for l, (width, below) in enumerate(zip(m, [p, *m])):
        shapes |= {f"W.{l}": (width, below)} | ({f"b.{l}": (width,)} if bias else {})
    return shapes


def _stored(name: str, parameter: Tensor) -> np.ndarray:
    if parameter.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"network must have weights in float32 or float64, {name} is {parameter.dtype}: use .float()"
        )
    return np.ascontiguousarray(parameter.detach().cpu().numpy())


def _write(record: dict[str, Any], arrays: dict[str, np.ndarray], path: Path) -> Path:
    """The file, written beside its place and then moved there."""
    with whole(path) as place, zipfile.ZipFile(place, "x") as archive:
        # stored, not compressed: noise has no pattern
        archive.writestr(RECORD, json.dumps(record, indent=1, allow_nan=False))
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, array, allow_pickle=False)
            archive.writestr(f"{name}.npy", buffer.getbuffer())
    return path


def _parse(content: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Record and arrays of a file; zip's checksums tell whether a bit was lost."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("its parts are compressed")
        parts = {member.filename: archive.read(member) for member in members}
    if len(parts) < len(members):
        raise ValueError("it holds two parts of one name")
    record = json.loads(parts.pop(RECORD).decode(), parse_constant=_no_constant)
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ValueError("its record is of another format")
    arrays = {}
    for name, part in parts.items():
        array = np.lib.format.read_array(io.BytesIO(part), allow_pickle=False)
        arrays[name.removesuffix(".npy")] = np.ascontiguousarray(array)
    return record, arrays


def _no_constant(name: str) -> float:
    raise ValueError(f"it holds {name} where a number is due")
