"""Formulas are evaluated, exports are run, files are damaged: each against the activation itself."""

from __future__ import annotations

import errno
import io
import json
import math
import os
import re
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import erf, eval_hermitenorm, ndtr
from torch import nn

from helpers import activations, export, families, finite, formulas, matching, recipes
from helpers.networks import ExplicitNetwork, ImplicitNetwork

HERMITE = [0.3, 1.0, -0.2, 0.0, 0.1]
POLYNOMIAL = [0.3, -1.0, 0.2, 0.5, 0.0, 0.01]


def bent(x):
    return np.maximum(x, 0.3) + 0.25 * x


def rational(x):
    return x / (1 + x**2)


LAYERS = {name: activations.get(name) for name in activations.names()} | {
    "leaky": activations.get("leaky_relu", a=0.83, b=-0.21),
    "leaky_reversed": activations.get("leaky_relu", a=-0.7, b=1.3),
    "left": activations.get("leaky_relu", a=0.0, b=1.3),
    "linear": activations.get("leaky_relu", a=-2.0, b=-2.0),
    "vee": activations.get("leaky_relu", a=-0.5, b=0.5),
    "clip": activations.get("hard_tanh", a=-1.7, c=0.6),
    "powers": activations.get("polynomial", coefficients=POLYNOMIAL),
    "tiny": activations.get("polynomial", coefficients=[0.0, 1.0, 1e-7]),
    "odd": activations.get("polynomial", coefficients=[0.0, -0.5, 0.0, 0.4]),
    "orthonormal": activations.get("hermite", coefficients=HERMITE),
    "clipped": activations.get("clipped_leaky_relu", a=0.8, b=-0.4, c=0.7),
    "leaky_clip": activations.get("leaky_hard_tanh", a=0.8, b=-0.3, c=0.7),
    "clipped_upward": activations.get("clipped_leaky_relu", a=0.8, b=0.4, c=0.7),
    "bent_callable": activations.get(bent),
}
LAYERS |= {  # whatever a twin's layer may be
    f"family_{name}": family.activation(np.linspace(-0.4, 0.9, family.size), 0.9, 1.1)
    for name in families.names()
    for family in [families.get(name)]
}
SHIFTS = {"centered": 0.2173, "negative": -1.25, "free": 0.0}
TWINS = ("relu", "tanh", "swish")


def twin(name: str) -> ExplicitNetwork:
    return matching.match(ImplicitNetwork(name, 0.2).centered(1.0), 1.0).network


# --- formulas ---------------------------------------------------------------------------------------

FUNCTIONS = {
    "max": np.maximum,
    "min": np.minimum,
    "abs": np.abs,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
    "erf": erf,
    "Phi": ndtr,
    "sign": lambda u: np.where(u >= 0, 1.0, -1.0),
    "step": lambda u: np.where(u >= 0, 1.0, 0.0),
    "frac": lambda above: lambda below: above / below,
    **{f"h{k}": lambda u, k=k: eval_hermitenorm(k, u) / math.factorial(k) ** 0.5 for k in range(9)},
}
TOKEN = re.compile(r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?|[A-Za-z]\w*|\*\*|[-+*/(),])")
TO_TEXT = [
    (r"\\mathbf\{1\}\\\{(.*?)\\ge 0\\\}", r"step(\1)"),
    (r"\\lvert (.*?) \\rvert", r"|\1|"),
    (r"\\operatorname\{(\w+)\}", r"\1"),
    (r"\\left\(|\\right\)", lambda match: match.group()[-1]),
    (r"\\cdot", "*"),
    (r"\\,", " "),
    (r"\\ln", "log"),
    (r"h_(\d)", r"h\1"),
    (r"u_1", "u"),
    (r"m_1", "m"),
    (r"\be\^", "exp"),
    (r"\\", ""),
    (r"\{", "("),
    (r"\}", ")"),
]


def evaluate(formula: str, **values) -> np.ndarray:
    """A formula as a reader reads it: juxtaposed things are multiplied, ``)(`` without a space is a call."""
    formula = re.sub(r"1\{(.*?) >= 0\}", r"step(\1)", formula)
    formula = re.sub(r"\|(.*?)\|", r"abs(\1)", formula).replace("^", "**")
    code, last, end = "", "+", 0
    for match in TOKEN.finditer(formula):
        assert not formula[end : match.start()].strip(), (
            f"what is {formula[end : match.start()]!r}?"
        )
        token, apart = match.group(), match.start() > end
        opens, closes = token[0].isalnum() or token == "(", last[-1].isalnum() or last == ")"
        called = token == "(" and not apart and (last in FUNCTIONS or last == ")")
        code += " * " + token if opens and closes and not called else token
        last, end = token, match.end()
    return eval(code, {"__builtins__": {}}, FUNCTIONS | values)  # noqa: S307  # our own formula


def as_text(latex: str) -> str:
    for pattern, replacement in TO_TEXT:
        latex = re.sub(pattern, replacement, latex)
    return latex


def right_side(formula: str, style: str) -> str:
    """What the first equation says of the state, as text in u and m."""
    if style == "text":
        state, *definition = formula.splitlines()
        assert definition in ([], ["u1 = W1 x"])
        state = state.replace("W1 x", "u").replace("u1", "u").replace("m1", "m")
        return state.removeprefix("x1 = ")
    formula = formula.replace("W_1 x", "u")
    if formula.startswith(r"\begin{aligned}"):
        formula, rest = formula.removeprefix(r"\begin{aligned} ").replace("&", "").split(r" \\ ")
        assert rest == r"u_1 = u \end{aligned}"
    return as_text(formula.removeprefix("x^{(1)} = "))


@pytest.mark.parametrize("shift", SHIFTS.values(), ids=SHIFTS)
@pytest.mark.parametrize("style", ["text", "latex"])
@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_formulas_have_the_values_of_the_layer(layer, style, shift):
    layer, u = layer.minus(shift), np.linspace(-3.03, 3.01, 53)
    write = getattr(formulas, style)
    for digits, precision in ((17, 1e-9 if layer.name == "bent" else 1e-13), (4, 1e-3)):
        formula = write(ExplicitNetwork((layer,)), digits)
        value = evaluate(right_side(formula, style), u=u, m=4.0)
        np.testing.assert_allclose(value, layer(u) / 2, rtol=precision, atol=3 * precision)


def test_the_evaluation_of_formulas_finds_a_wrong_one():
    u = np.array([2.0, -1.0])
    np.testing.assert_array_equal(evaluate("(0.5 max(u, 0) - 1)/sqrt(m)", u=u, m=4.0), [0, -0.5])
    assert (
        evaluate(as_text(r"\frac{1}{\sqrt{m_1}} \left(u - 2 \cdot 10^{-2}\right)"), u=1, m=4)
        == 0.49
    )
    assert evaluate("-u^2/2", u=3) == -4.5  # a minus before a power is before all of it
    with pytest.raises(AssertionError, match="what is"):
        evaluate("u ? 2", u=1.0)


def test_formulas_by_hand():
    leaky = activations.get("leaky_relu", a=0.83, b=-0.21).minus(0.41)
    network = ExplicitNetwork(("relu", leaky))
    assert str(network) == (
        "x1 = max(W1 x, 0)/sqrt(m1)\nx2 = (max(0.83 W2 x1, -0.21 W2 x1) - 0.41)/sqrt(m2)"
    )
    assert formulas.latex(network) == (
        r"\begin{aligned} x^{(1)} &= \frac{1}{\sqrt{m_1}} \max(W_1 x, 0) \\ "
        r"x^{(2)} &= \frac{1}{\sqrt{m_2}} \left(\max(0.83\,W_2 x^{(1)}, -0.21\,W_2 x^{(1)}) - 0.41\right)"
        r" \end{aligned}"
    )
    tenth = formulas.latex(ExplicitNetwork(("tanh",) * 10)).split(r"\\")[-1]
    assert r"x^{(10)} &= \frac{1}{\sqrt{m_{10}}} \tanh(W_{10} x^{(9)})" in tenth


def test_formulas_of_implicit_networks():
    network = ImplicitNetwork("relu", 0.25, 0.49)
    network = replace(network, activation=network.activation.minus(0.5))
    assert formulas.text(network) == "h = (max(u, 0) - 0.5)/sqrt(m)\nu = 0.5 A h + 0.7 B x"
    assert r"u &= 0.5\,A h + 0.7\,B x" in formulas.latex(network)
    assert formulas.text(ImplicitNetwork("tanh", 0.0)) == "h = tanh(u)/sqrt(m)\nu = B x"


def test_a_callable_is_printed_by_its_name():
    assert str(ExplicitNetwork((rational,))) == "x1 = rational(W1 x)/sqrt(m1)"
    assert r"\varphi(W_1 x)" in formulas.latex(ExplicitNetwork((lambda x: x / (1 + x**2),)))

    def tanh(x):  # whose name says too much
        return 2 * np.tanh(np.minimum(x, 0)) + np.maximum(x, 0)

    assert "tanh" not in formulas.text(ExplicitNetwork((tanh,)))


def test_notebooks_show_the_formula_and_the_field_keeps_its_repr():
    for network in (ExplicitNetwork(("relu",)), ImplicitNetwork("relu", 0.2)):
        shown = network._repr_latex_()
        assert shown == rf"$\displaystyle {formulas.latex(network)}$"
        assert repr(network).startswith(type(network).__name__ + "(")


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("relu",), TypeError, "network must be"),
        ((ExplicitNetwork(("relu",)), 0), ValueError, "digits must be at least 1"),
        ((ExplicitNetwork(("relu",)), 18), ValueError, "digits must be at most 17"),
        ((ExplicitNetwork(("relu",)), 2.5), TypeError, "digits must be an integer"),
    ],
)
def test_formulas_refuse(arguments, error, words):
    for write in (formulas.text, formulas.latex):
        with pytest.raises(error, match=words):
            write(*arguments)


# --- Sequential -------------------------------------------------------------------------------------

P, WIDTHS = 6, (7, 9)


@pytest.fixture(scope="module")
def X() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((P, 5))


def layers_by_hand(module: finite.ExplicitModule, X: np.ndarray) -> np.ndarray:
    x = X
    for layer, W in zip(module.network.layers, module.W):
        x = layer(W.detach().numpy() @ x) / np.sqrt(len(W))
    return x


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_the_sequential_is_the_network(layer, X):
    network = ExplicitNetwork((layer.minus(0.217), layer.minus(-0.4)))
    module = finite.realize(network, P, WIDTHS, seed=3)
    value = export.sequential(module)(torch.from_numpy(X.T)).T.detach().numpy()
    np.testing.assert_allclose(value, layers_by_hand(module, X), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(value, module.features(X).detach(), rtol=1e-12, atol=1e-12)
    drawn = export.sequential(network, P, WIDTHS, 3)(torch.from_numpy(X.T))
    np.testing.assert_array_equal(drawn.detach().numpy().T, value)


@pytest.mark.parametrize("name", TWINS)
def test_twins_are_exported_saved_and_printed(name, X, tmp_path):
    network = twin(name)
    module = finite.realize(network, P, 8, seed=1)
    value = export.sequential(module)(torch.from_numpy(X.T)).T
    np.testing.assert_allclose(value.detach(), layers_by_hand(module, X), rtol=1e-12, atol=1e-12)
    again = export.load(export.save(module, tmp_path / "twin"))
    assert torch.equal(again.features(X), module.features(X))
    assert str(again.network) == str(network) and f"x{network.depth} = " in str(network)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("relu", nn.ReLU),
        ("leaky", nn.LeakyReLU),
        ("leaky_reversed", nn.LeakyReLU),
        ("left", nn.ReLU),
        ("abs", nn.LeakyReLU),
        ("clip", nn.Hardtanh),
        ("tanh", nn.Tanh),
        ("sigmoid", nn.Sigmoid),
        ("softplus", nn.Softplus),
        ("swish", nn.SiLU),
        ("gelu", nn.GELU),
        ("elu", nn.ELU),
    ],
)
def test_standard_modules_where_they_exist(name, kind):
    parts = export.sequential(
        ExplicitNetwork((LAYERS[name].minus(0.3),) * 2), P, 4, 0, readout=True
    )
    assert [type(part) for part in parts] == [nn.Linear, kind, nn.Linear, kind, nn.Linear]


def test_softplus_keeps_its_tail():
    """torch's own threshold of 20 would cut off 2e-9."""
    network = ExplicitNetwork(("softplus",))
    part = export.sequential(network, 1, 1, 0)[1]
    u = torch.tensor([19.0, 21.0, 30.0, 50.0], dtype=torch.float64)
    np.testing.assert_allclose(part(u), np.logaddexp(0, u.numpy()), rtol=1e-15)


def test_constants_are_folded_and_nothing_else_has_a_bias():
    odd = export.sequential(ExplicitNetwork(("tanh", "erf")), P, 4, 0)
    assert all(part.bias is None for part in odd if isinstance(part, nn.Linear))
    shifted = export.sequential(
        ExplicitNetwork(("relu", "relu")).centered(1.0), P, 4, 0, readout=True
    )
    assert [part.bias is not None for part in shifted[::2]] == [False, True, True]


def test_biases_are_folded_too(X):
    network = ExplicitNetwork((LAYERS["left"].minus(0.2), "sigmoid")).centered(1.0)
    module = finite.realize(network, P, WIDTHS, 0, bias=0.7)
    value = export.sequential(module)(torch.from_numpy(X.T)).T
    np.testing.assert_allclose(value.detach(), module.features(X).detach(), atol=1e-13)


def test_readouts(X):
    module = finite.realize(ExplicitNetwork(("relu", "gelu")).centered(1.0), P, WIDTHS, 0)
    rows, h = torch.from_numpy(X.T), module.features(X).detach()
    own = export.sequential(module, readout=True)(rows)
    np.testing.assert_allclose(own.detach()[:, 0], module(X).detach(), atol=1e-13)
    fitted = np.random.default_rng(1).standard_normal((3, WIDTHS[-1]))
    for weights in (fitted, torch.from_numpy(fitted), fitted.tolist()):
        out = export.sequential(module, readout=weights)(rows)
        np.testing.assert_allclose(out.detach(), h.numpy().T @ fitted.T, atol=1e-13)
    assert export.sequential(module, readout=fitted[0])(rows).shape == (5, 1)
    assert export.sequential(module, readout=False)(rows).shape == (5, WIDTHS[-1])


def test_the_export_is_a_copy_that_trains(X):
    module = finite.realize(twin("relu"), P, 8, 0, dtype=torch.float32)
    before = module.features(X).detach().clone()
    parts = export.sequential(module, readout=True)
    assert {w.dtype for w in parts.parameters()} == {torch.float32}
    optimizer = torch.optim.Adam(parts.parameters(), 0.02)
    rows = torch.from_numpy(X.T).float()
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = ((parts(rows) - 1) ** 2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert torch.equal(module.features(X), before)


def test_sequential_draws_nothing_from_torchs_own_generator():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    export.sequential(ExplicitNetwork(("relu",)), P, 4, 0, readout=True)
    assert torch.equal(torch.rand(1), expected)


MODULE = finite.realize(ExplicitNetwork(("relu",)), P, 4, 0)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"network": ImplicitNetwork("relu", 0.2)}, TypeError, r"matching\.match"),
        ({"network": "relu"}, TypeError, "network must be an ExplicitNetwork"),
        ({"network": ExplicitNetwork(("relu",)), "p": 3, "m": 4}, ValueError, "p, m and seed"),
        ({"network": MODULE, "seed": 0}, ValueError, "seed must not be given"),
        ({"network": MODULE, "readout": np.ones(3)}, ValueError, "readout must be"),
        ({"network": MODULE, "readout": np.ones((1, 1, 4))}, ValueError, "readout must be"),
        ({"network": MODULE, "readout": [np.nan] * 4}, ValueError, "readout must be finite"),
        ({"network": MODULE, "readout": "own"}, TypeError, "readout must hold real numbers"),
        (
            {"network": ExplicitNetwork((rational,)), "p": 3, "m": 4, "seed": 0},
            ValueError,
            "rational has no module",
        ),
    ],
)
def test_sequential_refuses(arguments, error, words):
    with pytest.raises(error, match=words):
        export.sequential(**arguments)


def test_a_name_that_lies_is_found_out():
    false = replace(activations.get("tanh"), function=np.sin)
    with pytest.raises(ValueError, match="tanh"):
        export.sequential(ExplicitNetwork((false,)), 3, 4, 0)
    with pytest.raises(ValueError, match="tanh"):
        export.save(ExplicitNetwork((false,)), "nowhere")


# --- files ------------------------------------------------------------------------------------------


def bits(network) -> list:
    """Every number of a network, and its functions on a grid, to the last bit."""
    layers = getattr(network, "layers", None) or (network.activation,)
    x = np.linspace(-3, 3, 31)
    numbers = [getattr(network, key, None) for key in ("sigma_a2", "sigma_b2", "tau0")]
    return [
        type(network),
        [n if n is None else float(n).hex() for n in numbers],
        [(a.name, a.parameters, a.shift.hex(), a(x).tobytes(), a.family) for a in layers],
    ]


SAVED = {name: layer for name, layer in LAYERS.items() if not name.endswith("callable")}


@pytest.mark.parametrize("layer", SAVED.values(), ids=SAVED)
def test_networks_come_back_bit_for_bit(layer, tmp_path):
    path = tmp_path / "network.zip"
    cases = [ExplicitNetwork((layer, "relu")).centered(1 / 3), ExplicitNetwork((layer.minus(0.1),))]
    if not np.isinf(layer.slope_second_moment(1.0)):
        cases += [ImplicitNetwork(layer, 0.001).centered(1 / 3), ImplicitNetwork(layer, 1.1, 0.3)]
    for network in cases:
        export.save(network, path)
        again = export.load(path)
        # families that hold functions are compared by their values alone
        assert [repr(b) for b in bits(again)[:2]] == [repr(b) for b in bits(network)[:2]]
        for new, old in zip(bits(again)[2], bits(network)[2]):
            assert new[:4] == old[:4] and type(new[4]) is type(old[4])


def modules() -> dict[str, finite.ImplicitModule | finite.ExplicitModule]:
    implicit, explicit = (
        ImplicitNetwork("tanh", 0.3),
        ExplicitNetwork(("relu", "gelu")).centered(1.0),
    )
    solver = finite.Solver("anderson", tolerance=1e-9, memory=4)
    return {
        "implicit": finite.realize(implicit, P, 5, 0, solver=solver),
        "implicit_bias": finite.realize(implicit, P, 5, 0, bias=0.3, weights="student"),
        "explicit": finite.realize(explicit, P, WIDTHS, 1),
        "explicit_bias": finite.realize(explicit, P, 4, 2, bias=0.1),
        "single": finite.realize(explicit, P, WIDTHS, 1, dtype=torch.float32),
    }


@pytest.mark.parametrize("name", modules())
def test_modules_come_back_bit_for_bit(name, X, tmp_path):
    module = modules()[name]
    module.r.requires_grad_(False)
    with torch.no_grad():
        next(module.parameters()).mul_(1 / 3)  # as training would: no seed gives these weights
    again = export.load(export.save(module, str(tmp_path / "file")))
    old, new = dict(module.named_parameters()), dict(again.named_parameters())
    assert old.keys() == new.keys()
    for key, weights in old.items():
        assert new[key].dtype == weights.dtype and torch.equal(new[key], weights)
        assert new[key].requires_grad == (key != "r")
    assert torch.equal(again.features(X), module.features(X))
    assert (again.p, again.m, again.bias) == (module.p, module.m, module.bias)
    assert getattr(again, "solver", None) == getattr(module, "solver", None)


def test_the_file_is_plain_data(tmp_path):
    path = export.save(modules()["implicit_bias"], tmp_path / "file.zip")
    with zipfile.ZipFile(path) as archive:
        assert sorted(archive.namelist()) == ["A.npy", "B.npy", "b.npy", "network.json", "r.npy"]
        record = json.loads(archive.read("network.json"))
    assert record["activation"] == {"name": "tanh", "parameters": {}, "shift": 0.0}
    assert np.load(path, allow_pickle=False)["A"].shape == (5, 5)  # numpy alone reads the weights


@pytest.mark.parametrize(
    ("network", "error", "words"),
    [
        (ExplicitNetwork(("relu", rational)), ValueError, "rational is a callable.*polynomial"),
        (ImplicitNetwork(lambda x: x / (1 + x**2), 0.2), ValueError, "lambda.*is a callable"),
        (finite.realize(ExplicitNetwork(("relu",)), 3, 4, 0).half(), ValueError, "float32"),
        ("relu", TypeError, "network must be"),
        (nn.Linear(2, 2), TypeError, "network must be"),
    ],
)
def test_save_refuses_and_leaves_no_file(network, error, words, tmp_path):
    with pytest.raises(error, match=words):
        export.save(network, tmp_path / "file")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "failure", [OSError(errno.ENOSPC, "disk full"), KeyboardInterrupt()], ids=repr
)
@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_an_interrupted_save_leaves_the_old_file(failure, where, tmp_path, monkeypatch):
    path = export.save(ExplicitNetwork(("relu",)), tmp_path / "file")
    old = path.read_bytes()

    def fail(*_):
        raise failure

    monkeypatch.setattr(os, where, fail)
    with pytest.raises(type(failure)):
        export.save(ExplicitNetwork(("tanh",)), path)
    assert path.read_bytes() == old and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["network", "implicit_bias"])
def test_a_damaged_file_is_refused_or_harmless(name, tmp_path):
    """Every cut, and every changed byte: an error that names the file, or the very same network."""
    network = ExplicitNetwork(("relu",)).centered(1.0) if name == "network" else modules()[name]
    path = export.save(network, tmp_path / "file.net")
    content, step = path.read_bytes(), 1 if name == "network" else 7
    cuts = [content[:length] for length in range(0, len(content), step)]
    for damaged in cuts:
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"file\.net"):
            export.load(path)
    for place in range(0, len(content), step):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x5B]) + content[place + 1 :])
        try:
            again = export.load(path)
        except ValueError as error:
            assert "file.net" in str(error)  # noqa: PT017  # most places, not all, are refused
            continue
        if name == "network":  # what changed is a date or an attribute
            assert repr(bits(again)[:2]) == repr(bits(network)[:2])
            assert bits(again)[2][0][:4] == bits(network)[2][0][:4]
        else:
            assert all(map(torch.equal, again.parameters(), network.parameters()))


def rewritten(path, change, extra=None) -> None:
    """The file with its record changed, and its checksums right."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    record = json.loads(parts["network.json"])
    change(record)
    parts["network.json"] = json.dumps(record).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in (parts | (extra or {})).items():
            archive.writestr(name, part)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r.update(version=2), "version 2"),
        (lambda r: r.update(format="other"), "another format"),
        (lambda r: r.update(kind="recurrent"), "kind is 'recurrent'"),
        (lambda r: r.update(sigma_a2=math.nan), "NaN"),
        (lambda r: r.update(sigma_a2=-1.0), "sigma_a2 must be"),
        (lambda r: r["activation"].update(name="rleu"), "name must be one of"),
        (lambda r: r["activation"].update(shift="0"), "shift"),
        (lambda r: r["activation"].update(parameters={"a": 1.0}), "a is not a parameter"),
        (lambda r: r["module"].update(m=10**9), "shapes"),
        (lambda r: r["module"].update(bias=0.0), "shapes"),
        (lambda r: r["module"].update(solver={"method": "newton"}), "method must be"),
        (lambda r: r["module"].update(frozen=["q"]), "q"),
        (lambda r: r.pop("module"), "no module"),
    ],
)
def test_an_altered_record_is_refused(change, words, tmp_path):
    path = export.save(modules()["implicit_bias"], tmp_path / "file.net")
    rewritten(path, change)
    with pytest.raises(ValueError, match=rf"file\.net.*{words}"):
        export.load(path)


def test_pickles_and_foreign_files_are_refused(tmp_path):
    path = export.save(modules()["implicit_bias"], tmp_path / "file.net")
    with open(tmp_path / "object.npy", "wb") as file:
        np.save(file, np.array([{}], dtype=object), allow_pickle=True)
    rewritten(path, lambda r: None, {"A.npy": (tmp_path / "object.npy").read_bytes()})
    with pytest.raises(ValueError, match=r"file\.net.*Object arrays"):
        export.load(path)
    torch.save(MODULE.state_dict(), path)
    with pytest.raises(ValueError, match=r"file\.net"):
        export.load(path)
    np.savez(tmp_path / "other.npz", a=np.ones(3))
    with pytest.raises(ValueError, match=r"other\.npz"):
        export.load(tmp_path / "other.npz")
    with pytest.raises(FileNotFoundError):
        export.load(tmp_path / "missing")
    with pytest.raises(FileNotFoundError):
        export.save(ExplicitNetwork(("relu",)), tmp_path / "nowhere" / "file")


# ---------------------------------------------------------------- activations as data

POINTS = np.linspace(-3.0, 3.0, 25)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("relu", {}),
        ("leaky_relu", {"a": 1.5, "b": -0.25}),
        ("hard_tanh", {"a": 2.0, "c": 0.5}),
        ("polynomial", {"coefficients": (0.5, -1.0, 0.25)}),
    ],
)
def test_an_activation_comes_back_from_json(name, parameters):
    given = activations.get(name, **parameters).minus(0.375)
    data = recipes.recipe(given)
    assert (data["name"], data["shift"]) == (name, 0.375)
    plain = {key: list(v) if isinstance(v, tuple) else v for key, v in parameters.items()}
    assert data["parameters"] == plain
    again = recipes.made(json.loads(json.dumps(data)))
    np.testing.assert_array_equal(again(POINTS), given(POINTS))
    assert again.parameters == given.parameters and again.shift == given.shift


RELU = activations.get("relu")


@pytest.mark.parametrize(
    "activation",
    [
        pytest.param(activations.get(np.arctan), id="a callable"),
        pytest.param(replace(RELU, name="abs"), id="the name of another function"),
        pytest.param(replace(RELU, name="polynomial"), id="a name that lacks its coefficients"),
        pytest.param(
            replace(RELU, name="hard_tanh", parameters=(("c", -1.0),)),
            id="a parameter out of range",
        ),
        pytest.param(replace(RELU, parameters=(("a", 1.0),)), id="an unknown parameter"),
    ],
)
def test_what_its_name_does_not_make_is_code(activation):
    assert recipes.named(RELU) and not recipes.named(activation)
    message = f"^activation {activation.name} is a callable, .*names.*polynomial"
    with pytest.raises(ValueError, match=message):
        recipes.recipe(activation)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"shift": [0.1, 0.2]}, ValueError, "^recipe must hold a name and one shift, got {'name'"),
        ({"name": 3}, ValueError, "^recipe must hold a name and one shift"),
        ({"name": "rleu"}, ValueError, "^name must be one of"),
        ({"shift": np.inf}, ValueError, "^shift must be finite"),
        ({"shift": "much"}, TypeError, "^shift must hold real numbers"),
        ({"parameters": {"a": 1.0}}, ValueError, "^a is not a parameter of relu"),
    ],
)
def test_a_wrong_recipe(change, error, words):
    with pytest.raises(error, match=words):
        recipes.made({"name": "relu", "parameters": {}, "shift": 0.0} | change)


# ---------------------------------------------------------------- modules of one activation


@pytest.mark.parametrize(
    ("module", "shown"),
    [
        (export.Affine(2.0, -0.5), "Affine(scale=2, offset=-0.5)"),
        (export.Jump(1.0, -1.0), "Jump(high=1, low=-1)"),
        (
            export.PiecewiseLinear(0.5, [-1.0, 2.0], [1.0, -1.0]),
            "PiecewiseLinear(slope=0.5, knots=(-1.0, 2.0), jumps=(1.0, -1.0))",
        ),
        (export.Polynomial([0.0, 1.0, 2.0]), "Polynomial(degree=2, basis='monomial')"),
        (export.Polynomial([0.0, 1.0], "hermite"), "Polynomial(degree=1, basis='hermite')"),
        (export.Elementwise("erf"), "Elementwise(erf)"),
    ],
)
def test_a_module_shows_its_numbers(module, shown):
    assert str(module) == shown


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: export.Polynomial([0.0, 1.0], "legendre"),
            '^basis must be "monomial" or "hermite", got \'legendre\'$',
        ),
        (lambda: export.Elementwise("tanh"), "^name must be one of .*erf.*, got 'tanh'$"),
    ],
)
def test_a_wrong_module(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def either_tanh(x):
    """Of tensors and of arrays."""
    return torch.tanh(x) if isinstance(x, torch.Tensor) else np.tanh(x)


@pytest.mark.parametrize(
    "activation",
    [
        pytest.param(replace(RELU, function=either_tanh), id="a family of another function"),
        pytest.param(
            replace(activations.get("abs"), function=abs, family=activations.get("tanh").family),
            id="a name without a family",
        ),
    ],
)
def test_what_no_module_computes_is_refused(activation):
    with pytest.raises(ValueError, match=f"^activation {activation.name} has no module: "):
        export.sequential(ExplicitNetwork((activation,)), 3, 4, 0)


def test_weights_of_two_precisions_are_refused(tmp_path):
    path = export.save(modules()["implicit_bias"], tmp_path / "file.net")
    with zipfile.ZipFile(path) as archive:
        weights = np.load(io.BytesIO(archive.read("A.npy")))
    other = np.float32 if weights.dtype == np.float64 else np.float64
    np.save(tmp_path / "A.npy", weights.astype(other))
    rewritten(path, lambda r: None, {"A.npy": (tmp_path / "A.npy").read_bytes()})
    with pytest.raises(ValueError, match=r"file\.net.*its weights are of different precisions"):
        export.load(path)


def test_a_compressed_file_is_refused(tmp_path):
    path = export.save(ExplicitNetwork(("relu",)), tmp_path / "file.net")
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    with pytest.raises(ValueError, match=r"file\.net.*its parts are compressed"):
        export.load(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_with_a_part_twice_is_refused(tmp_path):
    path = export.save(ExplicitNetwork(("relu",)), tmp_path / "file.net")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("network.json", archive.read("network.json"))
    with pytest.raises(ValueError, match=r"file\.net.*it holds two parts of one name"):
        export.load(path)


# ---------------------------------------------------------------- formulas at their borders


def test_a_constant_that_cancels_is_not_written():
    """exp(min(u, 0)) - 1 of the ELU, and a shift that takes the -1 away but for rounding."""
    for shift, rest in ((0.0, " - 1"), (-1.0 + 1e-15, ""), (-1.0 + 1e-9, " - 1e-09")):
        stack = ExplicitNetwork((activations.get("elu").minus(shift),))
        shown = f"x1 = (max(W1 x, 0) + exp(min(W1 x, 0)){rest})/sqrt(m1)"
        assert formulas.text(stack) == shown


def test_two_slopes_of_a_callable_are_written_as_a_line_and_a_ramp():
    phi = activations.get(lambda x: np.where(x > 0, 1.5 * x, -0.5 * x))
    shown = formulas.text(ExplicitNetwork((phi,)))
    assert shown == "x1 = (-0.5 W1 x + 2 max(W1 x, 0))/sqrt(m1)"
    x = np.array([-2.0, -0.3, 0.7, 4.0])
    found = evaluate(shown.partition(" = ")[2].replace("W1 x", "u").replace("m1", "m"), u=x, m=1.0)
    np.testing.assert_allclose(found, phi(x), rtol=1e-12)
