"""Wrong arguments over the whole public API: each is refused soon, with an error that names the argument.

``CALLS`` declares every public function with right arguments and the kind of each; ``WRONG`` lists what can
be wrong with a kind. The cases are all their pairs. Two tests hold the table complete: no public function,
and no argument of one, is left out without a reason.
"""

import dataclasses
import importlib
import inspect
import pkgutil
import re
import time

import numpy as np
import pytest
import torch

import helpers
from helpers import (
    activations,
    checks,
    claims,
    datasets,
    equivalents,
    export,
    features,
    finite,
    formulas,
    kernels,
    matching,
    mixtures,
    networks,
    readout,
    refined,
    spectra,
)

P, N = 9, 12
RNG = np.random.default_rng(0)
MIXTURE = mixtures.GaussianMixture(RNG.standard_normal((2, P)), np.array([1.0, 1.5]))
SAMPLE = MIXTURE.sample(N, 0)
X, LABELS, STATS = SAMPLE.X, SAMPLE.labels, mixtures.statistics(SAMPLE)
TAU0 = STATS.tau0
FREE = networks.ImplicitNetwork("relu", 0.2)
NET = FREE.centered(TAU0)
STACK = networks.ExplicitNetwork(("relu", "tanh")).centered(TAU0)
COEFFICIENTS = equivalents.coefficients(NET, TAU0)
PHI = activations.get("swish")
GRAM = kernels.ck(NET, X)
OPERATOR = kernels.operator(NET, X)
EQUIVALENT = equivalents.ck(NET, STATS, X)
LAW = spectra.limiting_law(NET, MIXTURE, N)
MODULE = finite.realize(NET, P, 20, 0)
IMAGES = np.random.default_rng(1).random((784, 8))
DIGITS = datasets.Dataset(IMAGES, np.arange(8) % 2, "digits", "made up")
FITTED = readout.fit(X, LABELS)


@dataclasses.dataclass(frozen=True)
class Call:
    """A public function, right arguments for it, and the kind of each of them (None: see ``FREE_OF_CHECKS``)."""

    name: str
    function: object
    right: dict
    kinds: dict


def call(name, function, /, **arguments):
    right = {key: value for key, (value, _) in arguments.items()}
    return Call(name, function, right, {key: kind for key, (_, kind) in arguments.items()})


NETWORK, DATA, SCALE = (NET, "network"), (X, "data"), (TAU0, "positive")
KERNEL, TANGENT = ("ck", "choice"), ("ntk", "choice")
TRAINED, DTYPE = ("default", "trained"), ("float64", "dtype")
COEF, SEED = (COEFFICIENTS, "coefficients"), (0, "seed")
S, T, C = (
    (np.array([0.5, 1.0]), "variance"),
    (np.array([1.0, 2.0]), "variance"),
    (0.1, "covariance"),
)
ONE = ("plain", "choice")

CALLS = [
    # activations
    call("activations.get", activations.get, name=("relu", "activation"), parameters=(None, None)),
    *(
        call(f"activations.get({name})", lambda _name=name, **k: activations.get(_name, **k), **arguments)
        for name, arguments in {
            "leaky_relu": {"a": (1.0, "number"), "b": (0.1, "number")},
            "hard_tanh": {"a": (1.0, "number"), "c": (1.0, "positive")},
            "leaky_hard_tanh": {"a": (1.0, "number"), "b": (0.1, "number"), "c": (1.0, "positive")},
            "clipped_leaky_relu": {"a": (1.0, "number"), "b": (0.1, "number"), "c": (1.0, "positive")},
            "polynomial": {"coefficients": ((0.0, 1.0), "expansion")},
            "hermite": {"coefficients": ((0.0, 1.0), "expansion")},
        }.items()
    ),
    call("activations.names", activations.names),
    call("Activation.minus", PHI.minus, shift=(0.1, "number")),
    *(
        call(f"Activation.{name}", getattr(PHI, name), s=S)
        for name in ("mean", "second_moment", "slope", "curvature", "square_curvature", "slope_second_moment")
    ),
    *(call(f"Activation.{name}", getattr(PHI, name), s=S, t=T, c=C) for name in ("dual", "dual_slope")),
    *(
        call(f"_Expansion.{name}", getattr(activations.get("hermite"), name), s=S)
        for name in ("mean", "second_moment", "slope", "curvature", "square_curvature", "slope_second_moment")
    ),
    # mixtures
    call(
        "mixtures.GaussianMixture",
        mixtures.GaussianMixture,
        means=(np.zeros((2, 3)), "means"),
        covariances=(np.stack([np.eye(3)] * 2), "covariances"),
        proportions=(np.array([0.5, 0.5]), "proportions"),
    ),
    call("GaussianMixture.from_data", mixtures.GaussianMixture.from_data, X=DATA, labels=(LABELS, "labels")),
    call("GaussianMixture.covariance", MIXTURE.covariance, a=(0, "class")),
    call("GaussianMixture.traces", MIXTURE.traces),
    call("GaussianMixture.trace_products", MIXTURE.trace_products),
    call("GaussianMixture.mean_energies", MIXTURE.mean_energies),
    call("GaussianMixture.counts", MIXTURE.counts, n=(N, "count")),
    call("GaussianMixture.sample", MIXTURE.sample, n=(N, "count"), seed=SEED),
    call("mixtures.Sample", mixtures.Sample, X=DATA, labels=(LABELS, "labels"), mixture=(MIXTURE, "record")),
    call("mixtures.two_class", mixtures.two_class, p=(9, "count")),
    call("mixtures.statistics", mixtures.statistics, sample=(SAMPLE, "record")),
    call("mixtures.quadratic_means", mixtures.quadratic_means, sample=(SAMPLE, "record")),
    call("mixtures.estimate", mixtures.estimate, X=DATA, labels=(LABELS, "labels")),
    # networks
    call(
        "networks.ImplicitNetwork",
        networks.ImplicitNetwork,
        activation=("relu", "recurrent activation"),
        sigma_a2=(0.2, "sigma_a2"),
        sigma_b2=(0.8, "positive"),
        tau0=(1.0, "positive"),
    ),
    call("ImplicitNetwork.centered", FREE.centered, tau0=SCALE),
    call("ImplicitNetwork.variance", NET.variance, squared_norms=(np.ones(3), "norms")),
    call("ImplicitNetwork.input_rate", NET.input_rate, trained=TRAINED),
    call(
        "networks.ExplicitNetwork",
        networks.ExplicitNetwork,
        layers=(("relu", "tanh"), "layers"),
        tau0=(1.0, "positive"),
    ),
    call("ExplicitNetwork.rates", STACK.rates, trained=("all", "rates of a stack"), name=("trained", None)),
    call("ExplicitNetwork.centered", STACK.centered, tau0=SCALE),
    # kernels
    call("kernels.diagonal", kernels.diagonal, network=(NET, "implicit"), squared_norms=(np.ones(3), "norms")),
    call("kernels.ck", kernels.ck, network=NETWORK, X=DATA, dtype=DTYPE),
    call("kernels.ntk", kernels.ntk, network=NETWORK, X=DATA, trained=TRAINED, dtype=DTYPE),
    call("kernels.ntk(stack)", kernels.ntk, network=(STACK, "network"), X=DATA,
         trained=("all", "rates of a stack"), dtype=DTYPE),
    call("kernels.ck_and_ntk", kernels.ck_and_ntk, network=NETWORK, X=DATA, trained=TRAINED, dtype=DTYPE),
    call("kernels.residual", kernels.residual, network=(NET, "implicit"), X=DATA, G=(GRAM, "matrix of n")),
    call("kernels.operator", kernels.operator, network=NETWORK, X=DATA, kernel=TANGENT, trained=TRAINED,
         dtype=DTYPE),
    call("KernelOperator.eigsh", OPERATOR.eigsh, k=(2, "eigenpairs"), passes=(8, "count")),
    # equivalents
    call("equivalents.coefficients", equivalents.coefficients, network=(NET, "centered"), tau0=SCALE,
         trained=TRAINED),
    call("equivalents.ck", equivalents.ck, network=(NET, "centered"), stats=(STATS, "statistics"), X=DATA,
         refined=(False, "flag"), T=ONE),
    call("equivalents.ntk", equivalents.ntk, network=(NET, "centered"), stats=(STATS, "statistics"), X=DATA,
         trained=TRAINED, refined=(False, "flag"), T=ONE),
    call(
        "equivalents.Equivalent",
        equivalents.Equivalent,
        X=DATA,
        scale=(1.0, "per sample"),
        frame=(np.ones((N, 2)), "frame"),
        core=(np.eye(2), "core"),
        diagonal=(1.0, "per sample"),
    ),
    call("Equivalent.toarray", EQUIVALENT.toarray),
    call("Equivalent.eigsh", EQUIVALENT.eigsh, k=(2, "eigenpairs")),
    # refined
    call("refined.profile", refined.profile, network=NETWORK, squared_norms=(np.ones(3), "norms"),
         kernel=TANGENT, trained=TRAINED),
    call("refined.terms", refined.terms, network=(NET, "centered"), stats=(STATS, "statistics"), X=DATA,
         kernel=TANGENT, trained=TRAINED, squares=(np.ones((N, 2)), "squares")),
    call("refined.squared_products", refined.squared_products, X=DATA, labels=(LABELS, "labels")),
    # spectra
    call("spectra.eigenvalues", spectra.eigenvalues, A=(GRAM, "symmetric")),
    call("spectra.top_eigenpairs", spectra.top_eigenpairs, A=(GRAM, "symmetric"), k=(2, "eigenpairs")),
    call("spectra.block_eigenpairs", spectra.block_eigenpairs, A=(OPERATOR, "operator"), k=(2, "eigenpairs"),
         passes=(8, "count"), tolerance=(1e-4, "positive")),
    call("spectra.operator_norm", spectra.operator_norm, A=(GRAM, "symmetric")),
    call("spectra.extreme_eigenpair", spectra.extreme_eigenpair, A=(GRAM, "symmetric")),
    call("spectra.both_ends", spectra.both_ends, A=(GRAM, "symmetric")),
    call("spectra.histogram", spectra.histogram, values=(np.arange(5.0), "vector"), bins=(3, "count"),
         range=((0.0, 1.0), "range")),
    call("spectra.limiting_law", spectra.limiting_law, network=(NET, "centered"), mixture=(MIXTURE, "record"),
         n=(N, "count"), kernel=KERNEL, trained=TRAINED, law=ONE, resolution=(0.05, "positive")),
    call("spectra.critical_distance", spectra.critical_distance, network=(NET, "centered"),
         mixture=(MIXTURE, "record"), n=(N, "count"), kernel=KERNEL, trained=TRAINED, law=ONE),
    call("LimitingLaw.density", LAW.density, x=(np.arange(3.0), "numbers")),
    call("LimitingLaw.cdf", LAW.cdf, x=(np.arange(3.0), "numbers")),
    call("LimitingLaw.distance", LAW.distance, eigenvalues=(np.arange(3.0), "some numbers")),
    call("LimitingLaw.stieltjes", LAW.stieltjes, z=(1.0 + 1.0j, "complex")),
    # matching
    call("matching.families", matching.families),
    call("matching.match", matching.match, network=(NET, "implicit, centered"), tau0=SCALE, kernel=KERNEL,
         family=("leaky_relu", "choice"), depth=(2, "count"), trained=TRAINED, rates=(None, "rates of a ck"),
         tolerance=(1e-10, "tolerance"), seed=SEED),
    call("matching.match(ntk)", matching.match, network=(NET, "implicit, centered"), tau0=SCALE,
         kernel=("ntk", "choice"), family=("hermite", "choice"), depth=(2, "count"), trained=("all", "trained"),
         rates=("free", "rates of an ntk"), tolerance=(1e-6, "tolerance"), seed=SEED),
    call("matching.joint_residual", matching.joint_residual, network=(NET, "implicit, centered"), tau0=SCALE,
         depth=(1, "count"), seed=SEED),
    call("matching.implicit_for", matching.implicit_for,
         explicit=(networks.ExplicitNetwork(("relu",)).centered(TAU0), "explicit, centered"), tau0=SCALE,
         kernel=KERNEL, activation=("leaky_relu", "choice"), trained=TRAINED,
         rates=("default", "rates of one layer"), tolerance=(1e-10, "tolerance"), seed=SEED),
    call("matching.scaled", matching.scaled, c=COEF, tau0=SCALE, kernel=KERNEL),
    call("matching.one_layer_defect", matching.one_layer_defect, c=COEF),
    call("matching.one_layer_rate", matching.one_layer_rate, c=COEF),
    call("matching.hard_tanh_range", matching.hard_tanh_range),
    call("matching.odd_cubic", matching.odd_cubic, c=COEF, tau0=SCALE),
    call("matching.leaky_identity", matching.leaky_identity, c=COEF, tau0=SCALE),
    call("matching.leaky_roots", matching.leaky_roots, c=COEF, tau0=SCALE),
    call("matching.leaky_twins", matching.leaky_twins, c=COEF, tau0=SCALE),
    call("matching.leaky_end", matching.leaky_end, activation=("relu", "activation")),
    call("matching.cubic_twin", matching.cubic_twin, c=COEF, tau0=SCALE),
    # finite, solvers
    call("finite.realize", finite.realize, network=NETWORK, p=(P, "count"), m=(8, "count"), seed=SEED,
         weights=("gaussian", "choice"), bias=(0.0, "non-negative"), solver=(finite.Solver(), "record"),
         dtype=(torch.float64, "torch dtype"), device=("cpu", None)),
    call("finite.empirical_ck", finite.empirical_ck, module=(MODULE, "record"), X=DATA),
    call("finite.empirical_ntk", finite.empirical_ntk, module=(MODULE, "record"), X=DATA,
         groups=("default", "groups")),
    call("finite.Solver", finite.Solver, method=ONE, tolerance=(1e-8, "positive"), max_steps=(5, "count"),
         memory=(5, "count"), regularization=(0.0, "non-negative")),
    call("finite.solve", finite.solve, step=(lambda state, samples: state / 2, None),
         start=(torch.ones(2, 2, dtype=torch.float64), "start"), method=ONE, settings=(None, None)),
    call("finite.torch_function", finite.torch_function, activation=(PHI, "record")),
    # readout
    call("readout.fit", readout.fit, H=DATA, labels=(LABELS, "labels"), method=("ridge", "choice"),
         classes=(2, "classes"), seed=SEED, settings=(None, None)),
    call("readout.targets", readout.targets, labels=(LABELS, "labels of any number"), classes=(2, "classes")),
    call("readout.kernel_ridge", readout.kernel_ridge, G=(GRAM + np.eye(N), "matrix of n"),
         labels=(LABELS, "labels"), cross=(np.ones((N, 2)), "cross"), ridge=(0.1, "positive")),
    call("Readout.outputs", FITTED.outputs, H=DATA),
    call("Readout.predict", FITTED.predict, H=DATA),
    call("Readout.accuracy", FITTED.accuracy, H=DATA, labels=(LABELS, "labels of any number")),
    # data, features
    call("datasets.load", datasets.load, name=("mnist", "choice"), split=("test", "choice"),
         full=(False, "flag")),
    call("datasets.at_hand", datasets.at_hand, name=("mnist", "choice")),
    call("Dataset.normalized", DIGITS.normalized),
    call("Dataset.subset", DIGITS.subset, classes=([0, 1], "classes to keep"), n=(4, "count"), seed=SEED),
    call("features.as_images", features.as_images, images=(IMAGES, "data")),
    call("features.extract", features.extract, module=(lambda x: x.flatten(1), "callable"),
         images=(IMAGES, "data")),
    call("features.train_extractor", features.train_extractor, data=(DIGITS, "record"),
         dimension=(4, "count"), epochs=(1, "count"), seed=SEED, batch=(8, "count"),
         step_size=(1e-3, "positive")),
    # the rest
    call("export.sequential", export.sequential, network=(STACK, "explicit"), p=(P, "count"), m=(8, "count"),
         seed=SEED, readout=(np.ones(8), "weights")),
    call("export.save", export.save, network=NETWORK, path=("", None)),
    call("formulas.text", formulas.text, network=NETWORK, digits=(4, "count")),
    call("formulas.latex", formulas.latex, network=NETWORK, digits=(4, "count")),
    call("claims.check", claims.check, label=("thm-bulk", "label"), sentence=("it holds", None),
         measured=(0.5, "measured"), bound=(1.0, "number"), sense=("<=", "choice")),
]  # fmt: skip

# ---------------------------------------------------------------- what can be wrong

TEXT, OBJECTS = np.full((P, N), "x"), np.full((P, N), None)
NO_NUMBER = {"text": "1", "None": None, "complex": 1j, "a list": [1.0, 2.0], "a function": len}
NOT_FINITE = {"NaN": np.nan, "infinite": np.inf}
NO_CHOICE = {"unknown": "nonsense", "empty": "", "a number": 3, "a list": ["ck"], "None": None}
NO_INTEGER = {
    "a fraction": 1.5,
    "text": "3",
    "None": None,
    "True": True,
    "NaN": np.nan,
    "a list": [1],
}
NO_NETWORK = {
    "None": None,
    "text": "relu",
    "an activation": PHI,
    "a dictionary": {"sigma_a2": 0.2},
    "its class": networks.ImplicitNetwork,
}
SMALL_DATA = {
    "NaN": np.where(np.arange(N) == 3, np.nan, X),
    "infinite": np.where(np.arange(N) == 3, -np.inf, X),
    "complex": X + 0j,
    "text": TEXT,
    "objects": OBJECTS,
    "boolean": X > 0,
    "one dimension": X[0],
    "three dimensions": X[None],
    "no rows": np.empty((0, N)),
    "no columns": np.empty((P, 0)),
    "ragged": [[1.0, 2.0], [3.0]],
    "None": None,
}
UNCENTERED = {"not centered": FREE, "centered elsewhere": FREE.centered(100.0)}
NOT_VECTORS = {
    "NaN": [1.0, np.nan],
    "infinite": [1.0, np.inf],
    "complex": [1j, 1.0],
    "text": ["a", "b"],
    "None": None,
    "ragged": [[1.0], [1.0, 2.0]],
}
NOT_SQUARE = {
    **{key: value for key, value in SMALL_DATA.items() if key != "boolean"},
    "rectangular": X,
    "a number": 1.0,
}
NO_RATES = {"unknown": "nonsense", "None": None, "negative": (1.0, -1.0, 1.0), "too few": (1.0,),
            "NaN": (np.nan, 1.0, 1.0), "complex": (1j, 1.0, 1.0), "text": ("a", "b", "c")}  # fmt: skip

WRONG = {
    "data": SMALL_DATA,
    "labels": {
        "a gap": np.where(LABELS == 1, 2, LABELS),
        "negative": LABELS - 1,
        "fractions": LABELS + 0.5,
        "floats": LABELS.astype(float),
        "text": LABELS.astype(str),
        "boolean": LABELS > 0,
        "too few": LABELS[:-1],
        "too many": np.append(LABELS, 0),
        "two dimensions": LABELS[None],
        "empty": [],
        "ragged": [[0], [0, 1]],
        "None": None,
    },
    "labels of any number": {
        "negative": LABELS - 5,
        "fractions": LABELS + 0.5,
        "text": LABELS.astype(str),
        "two dimensions": LABELS[None],
        "None": None,
    },
    "number": {**NO_NUMBER, **NOT_FINITE},
    "numbers": {key: value for key, value in {**NOT_VECTORS, **NO_NUMBER}.items() if key != "a list"},
    "some numbers": NOT_VECTORS | {"empty": []},
    "vector": NOT_VECTORS | {"empty": [], "two dimensions": np.ones((2, 2)), "a number": 1.0},
    "positive": {**NO_NUMBER, **NOT_FINITE, "zero": 0.0, "negative": -1.0, "True": True},
    "non-negative": {**NO_NUMBER, **NOT_FINITE, "negative": -0.1},
    "sigma_a2": {**NO_NUMBER, **NOT_FINITE, "negative": -0.1},
    "tolerance": {**NO_NUMBER, **NOT_FINITE, "zero": 0.0, "negative": -1.0, "below rounding": 1e-17},
    "count": NO_INTEGER | {"zero": 0, "negative": -2},
    "seed": NO_INTEGER | {"negative": -1},
    "class": NO_INTEGER | {"too large": 2, "negative": -1},
    "classes": NO_INTEGER | {"zero": 0, "negative": -1},
    "eigenpairs": NO_INTEGER | {"zero": 0, "negative": -1, "too many": N + 1},
    "choice": NO_CHOICE,
    "flag": {"a number": 1, "text": "yes", "None": None},
    "trained": {"unknown": "nonsense", "of a stack": "first_frozen", "rates": (1.0, 1.0), "None": None,
                "a number": 1},
    "rates of a stack": NO_RATES | {"too many": (1.0,) * 4},
    "rates of one layer": NO_RATES,
    "rates of an ntk": {"unknown": "nonsense", "one": (1.0,), "negative": (1.0, -1.0, 1.0),
                        "no readout": (1.0, 1.0, 0.0), "NaN": (np.nan, 1.0, 1.0), "a number": 1.0},
    "rates of a ck": {"given": "free", "a tuple": (0.0, 0.0, 1.0)},
    "dtype": {"an integer's": "int64", "half": "float16", "complex": complex, "unknown": "nonsense"},
    "torch dtype": {"half": torch.float16, "an integer's": torch.int64, "text": "float64", "None": None},
    "network": NO_NETWORK,
    "centered": NO_NETWORK | UNCENTERED,
    "implicit": NO_NETWORK | {"explicit": STACK},
    "implicit, centered": NO_NETWORK | {"explicit": STACK} | UNCENTERED,
    "explicit": NO_NETWORK | {"implicit": NET},
    "explicit, centered": NO_NETWORK
    | {"implicit": NET, "not centered": networks.ExplicitNetwork(("relu",))},
    "record": {"None": None, "text": "x", "an array": X, "a dictionary": {}},
    "statistics": {"None": None, "the sample": SAMPLE, "an array": X, "a dictionary": {},
                   "of other data": mixtures.statistics(MIXTURE.sample(N + 2, 0))},
    "coefficients": {"None": None, "an array": np.ones(10), "the network": NET, "a number": 1.0},
    "operator": NOT_SQUARE,
    "activation": {"unknown": "nonsense", "None": None, "a number": 3, "a list": ["relu"]},
    "recurrent activation": {"unknown": "nonsense", "None": None, "a number": 3, "a list": ["relu"],
                             "a jump": "sign", "another jump": activations.get("step")},
    "layers": {"text": "relu", "an activation": PHI, "none": (), "unknown": ("nonsense",),
               "of None": (None,), "of numbers": (1.0,), "a set": {"relu"}, "None": None},
    "expansion": {"NaN": [0.0, np.nan], "complex": [0.0, 1j], "text": ["a", "b"], "a constant": [1.0],
                  "all zero": [1.0, 0.0], "two dimensions": [[0.0, 1.0]], "a number": 1.0, "empty": [],
                  "of degree 99": np.ones(100), "None": None},
    "variance": NOT_VECTORS | {"zero": [1.0, 0.0], "negative": [1.0, -1.0], "empty": []},
    "covariance": {"too large": 5.0, "NaN": np.nan, "complex": 1j, "text": "a", "None": None, "empty": []},
    "norms": NOT_VECTORS | {"negative": [1.0, -1.0], "empty": []},
    "means": {"one dimension": np.zeros(3), "no class": np.empty((0, 3)), "no dimension": np.empty((2, 0)),
              "NaN": np.full((2, 3), np.nan), "complex": np.ones((2, 3)) * 1j, "text": np.full((2, 3), "a"),
              "None": None, "ragged": [[1.0], [1.0, 2.0]]},
    "covariances": {
        "not symmetric": np.stack([np.triu(np.ones((3, 3)))] * 2),
        "indefinite": np.stack([np.diag([1.0, 1.0, -1.0])] * 2),
        "negative": [1.0, -1.0],
        "a negative entry": [[1.0, 1.0, 1.0], [1.0, 1.0, -1.0]],
        "of another dimension": np.stack([np.eye(4)] * 2),
        "of three classes": np.ones(3),
        "four dimensions": np.ones((1, 2, 3, 3)),
        "NaN": np.full((2, 3), np.nan),
        "complex": np.ones(2) * 1j,
        "text": ["a", "b"],
        "None": None,
    },
    "proportions": {"of sum 0.9": [0.5, 0.4], "zero": [1.0, 0.0], "negative": [1.5, -0.5], "one": [1.0],
                    "NaN": [np.nan, 0.5], "text": ["a", "b"], "two dimensions": [[0.5, 0.5]]},
    "matrix of n": NOT_SQUARE,
    "symmetric": NOT_SQUARE | {"not symmetric": np.triu(np.ones((3, 3)))},
    "cross": {"one dimension": np.ones(N), "of other samples": np.ones((N + 1, 2)), "text": np.full((N, 2), "a"),
              "NaN": np.full((N, 2), np.nan), "complex": np.ones((N, 2)) * 1j, "None": None},
    "squares": {"of other samples": np.ones((N + 1, 2)), "of other classes": np.ones((N, 3)),
                "NaN": np.full((N, 2), np.nan), "text": np.full((N, 2), "a"), "complex": np.ones((N, 2)) * 1j},
    "per sample": NOT_VECTORS | {"of other samples": np.ones(N + 1)},
    "frame": {"of other samples": np.ones((N + 1, 2)), "one dimension": np.ones(N), "NaN": np.full((N, 2), np.nan),
              "text": np.full((N, 2), "a"), "complex": np.ones((N, 2)) * 1j, "None": None},
    "core": {"rectangular": np.ones((2, 3)), "of another rank": np.eye(3), "one dimension": np.ones(2),
             "NaN": np.full((2, 2), np.nan), "text": np.full((2, 2), "a"), "complex": np.eye(2) * 1j,
             "None": None},
    "range": {"upside down": (1.0, 0.0), "one number": (1.0,), "NaN": (np.nan, 1.0), "text": "ab",
              "a number": 1.0},
    "complex": {"NaN": np.nan, "infinite": np.inf, "text": "1", "None": None,
                "in the bulk": float(np.mean(LAW.support[0]))},
    "start": {"one dimension": torch.ones(2), "integers": torch.ones(2, 2, dtype=torch.long), "None": None,
              "an array": np.ones((2, 2)), "complex": torch.ones(2, 2, dtype=torch.complex128)},
    "groups": {"unknown": "nonsense", "none": (), "twice": ("readout", "readout"), "None": None,
               "a number": 7, "of a stack": (0, 1)},
    "classes to keep": {"absent": [0, 5], "twice": [0, 0], "none": [], "fractions": [0.5], "None": None,
                        "a number": 0, "text": "01"},
    "callable": {"None": None, "text": "x", "returns text": lambda x: ["a"] * len(x),
                 "returns too few": lambda x: x.flatten(1)[:1], "returns NaN": lambda x: x.flatten(1) * np.nan},
    "weights": {"of another width": np.ones(9), "NaN": np.full(8, np.nan), "text": "abc",
                "three dimensions": np.ones((1, 1, 8)), "complex": np.ones(8) * 1j},
    "label": {"empty": "", "None": None, "a number": 3},
    "measured": {"text": "much", "None": None, "complex": 1j, "a list": [1.0, 2.0]},
}  # fmt: skip

#: public functions that the table leaves out, and why
EXEMPT = {
    "activations.Activation": "a record that activations.get makes",
    "Activation.derivative": "elementwise like a function of numpy: NaN in, NaN out",
    "equivalents.Coefficients": "a record that coefficients makes",
    "mixtures.Statistics": "a record that statistics and estimate make",
    "kernels.KernelOperator": "made by kernels.operator",
    "matching.Match": "a record that match makes",
    "Match.gap": "checked by its own tests: it takes the data of kernels.ck",
    "Match.require": "a warning, checked by its own tests",
    "matching.ImplicitMatch": "a record that implicit_for makes",
    "matching.LeakyTwin": "a record that leaky_twins makes",
    "spectra.LimitingLaw": "a record that limiting_law makes",
    "spectra.Histogram": "a record that histogram makes",
    "refined.Profile": "a record that profile makes",
    "finite.ImplicitModule": "made by realize",
    "finite.ExplicitModule": "made by realize",
    "ImplicitModule.features": "takes the data of empirical_ck, by the same check",
    "ImplicitModule.solution": "as features",
    "ImplicitModule.tangents": "as features",
    "ExplicitModule.features": "as that of an implicit module",
    "ExplicitModule.tangents": "as features",
    "finite.Solution": "a record that solve makes",
    "finite.Tangent": "a record that tangents makes",
    "Tangent.kernel": "takes nothing",
    "readout.Readout": "a record that fit makes",
    "datasets.Source": "a record of the module",
    "datasets.Dataset": "a record that load makes",
    "datasets.DataError": "an exception",
    "claims.Claim": "a record that check makes",
    "claims.ClaimError": "an exception",
    "claims.glue": "needs a notebook",
    "features.Extractor": "made by train_extractor",
    "Extractor.forward": "torch's",
    "Extractor.accuracy": "takes the data of train_extractor",
    "features.pretrained": "needs torchvision, and is checked by its own tests",
    "export.load": "reads files, whose damage has tests of its own",
    "formulas.centered": "writes the formula of a checked network",
    **{
        f"export.{name}": "a module of torch that export.sequential makes"
        for name in ("Affine", "Jump", "PiecewiseLinear", "Polynomial", "Elementwise")
    },
    **{
        f"{name}.{method}": "torch's"
        for name in ("Affine", "Jump", "PiecewiseLinear", "Polynomial", "Elementwise")
        for method in ("forward", "extra_repr")
    },
    "networks.warn_if_scale_differs": "for the package's own use",
    "networks.positive_variances": "for the package's own use",
    "networks.fixed_point": "for the package's own use",
}

#: modules that a reader calls, and the machinery behind them
PUBLIC = ["activations", "claims", "datasets", "equivalents", "export", "features", "finite", "formulas", "kernels",
          "matching", "mixtures", "networks", "readout", "refined", "spectra"]  # fmt: skip
BEHIND = {
    "kernels": ["arrays", "pairs", "quadrature", "tiles", "wedge"],
    "spectra": ["bulk", "eigen", "forms", "laws", "spikes", "support"],
    "matching": ["backward", "families", "feasibility", "rule", "search", "twin"],
    "finite": ["recipes", "solvers", "torch_activations"],
    "sweeps, which have a fixed grid": ["experiments", "gaps", "practice", "sweeps"],
    "figures, whose numbers are checked where they are made": ["plotting"],
    "all": ["checks", "errors", "files", "progress"],
}


# ---------------------------------------------------------------- the cases


def cases():
    """(call, argument, what is wrong with it, value); None is right where it is the default."""
    for one in CALLS:
        parameters = inspect.signature(one.function).parameters
        for argument, kind in one.kinds.items():
            if kind is None:
                continue
            default = (
                parameters[argument].default if argument in parameters else inspect.Parameter.empty
            )
            for what, value in WRONG[kind].items():
                if not (what == "None" and default is None):
                    words = r"\.centered\(" if "centered" in what else rf"\b{argument}\b"
                    yield pytest.param(
                        one, {argument: value}, words, id=f"{one.name}-{argument}-{what}"
                    )


CASES = list(cases())
SECOND = 1.0  # of processor time, which does not depend on what else the machine does


def arguments_of(one, **changed):
    """The right arguments of a call, some of them changed; None stands for what is left out."""
    given = {key: value for key, value in one.right.items() if one.kinds[key] or value is not None}
    return given | changed


@pytest.mark.parametrize(("one", "wrong", "words"), CASES)
@pytest.mark.filterwarnings("ignore:the network was centered")
def test_a_wrong_argument_is_named_soon(one, wrong, words):
    start = time.process_time()
    with pytest.raises((ValueError, TypeError)) as caught:
        one.function(**arguments_of(one, **wrong))
    assert time.process_time() - start < SECOND
    assert not caught.type.__module__.startswith(("numpy", "torch")), "an error of a library below"
    message, (argument,) = str(caught.value), wrong
    assert re.search(words, message), message
    # a sentence that begins with the argument, its place in a larger one, or in lower case
    assert re.match(rf"({argument}\b|[a-z_]+ |each of |\d|G must be \(n)", message), message
    assert not re.search(r"\b(?!CK\b|NTK\b|DEQ|SHA|IDX)[A-Z]{2,}", message), "it shouts: " + message


@pytest.mark.parametrize("one", CALLS, ids=lambda one: one.name)
def test_the_right_arguments_are_accepted(one, tmp_path):
    changed = {"path": tmp_path / "network"} if "path" in one.right else {}
    changed |= {key: value for key, value in one.right.items() if key in ("parameters", "settings")}
    arguments = arguments_of(one, **changed)
    for key in ("parameters", "settings"):
        arguments.pop(key, None)
    one.function(**arguments)


def test_there_are_as_many_cases_as_were_promised():
    assert len(CASES) >= 150


# ---------------------------------------------------------------- the table is complete


def public(name):
    """Public functions and classes of a module, and the methods of its classes."""
    module = importlib.import_module(f"helpers.{name}")
    for key in getattr(module, "__all__", [k for k in vars(module) if not k.startswith("_")]):
        found = getattr(module, key)
        own = hasattr(module, "__all__") or getattr(found, "__module__", None) == module.__name__
        if not own or not callable(found):
            continue
        yield f"{name}.{key}"
        if inspect.isclass(found) and not issubclass(found, Exception):
            for method, value in vars(found).items():
                hidden = method.startswith("_") or isinstance(value, property)
                if not hidden and callable(getattr(found, method)):
                    yield f"{key}.{method}"


@pytest.mark.parametrize("name", PUBLIC)
def test_no_public_function_is_left_out(name):
    declared = {one.name for one in CALLS} | set(EXEMPT)
    missing = [found for found in public(name) if found not in declared]
    assert not missing, f"give {missing} right arguments in CALLS, or a reason in EXEMPT"


def test_no_module_is_left_out():
    known = set(PUBLIC) | {name for names in BEHIND.values() for name in names}
    assert known == {module.name for module in pkgutil.iter_modules(helpers.__path__)} - {"data"}


@pytest.mark.parametrize(
    "one", [one for one in CALLS if "(" not in one.name], ids=lambda one: one.name
)
def test_no_argument_is_left_out(one):
    assert set(one.kinds) == set(inspect.signature(one.function).parameters)


def test_no_reason_outlives_its_function():
    every = {found for name in PUBLIC for found in public(name)}
    known = every | {"_Expansion", "readout.METHODS", "Activation.derivative"}
    assert not [name for name in EXEMPT if name not in known]
    assert not [
        one.name
        for one in CALLS
        if "(" not in one.name and "_" != one.name[0] and one.name not in known
    ]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: checks.as_labels([], 0), "labels must hold at least one label"),
        (
            lambda: checks.number([[1.0], [1.0, 2.0]], "k"),
            "k must be one real number; it is [[1.0], [1.0, 2.0]]",
        ),
    ],
)
def test_nothing_and_ragged_lists_are_refused(call, message):
    with pytest.raises((TypeError, ValueError), match=f"^{re.escape(message)}$"):
        call()
