"""An activation as data: its name, parameters and shift, and the activation back from them."""

from __future__ import annotations

from typing import Any

import numpy as np

from helpers import activations
from helpers.activations import Activation
from helpers.checks import as_real_array

Recipe = dict[str, Any]


def named(activation: Activation) -> bool:
    """Whether the name and parameters of ``activation`` make this very function again."""
    if activation.name not in activations.names():
        return False
    x = np.linspace(-6.03, 6.07, 41)
    try:
        again = activations.get(activation.name, **dict(activation.parameters))
    except (ValueError, TypeError):
        return False
    return np.array_equal(again.function(x), activation.function(x))


def recipe(activation: Activation) -> Recipe:
    """What makes an activation: a name, its parameters and the constant subtracted, all plain data.

    Parameters
    ----------
    activation : Activation

    Returns
    -------
    dict
        Keys name, parameters and shift, ready for JSON.

    Raises
    ------
    ValueError
        For an activation that is code, such as one made from a callable.
    """
    if not named(activation):
        raise ValueError(
            f"activation {activation.name} is a callable, which plain data cannot hold: use one of the "
            "named activations (activations.names()), or a polynomial near it, "
            'activations.get("polynomial", coefficients=…)'
        )
    parameters = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in activation.parameters
    }
    return {"name": activation.name, "parameters": parameters, "shift": activation.shift}


def made(recipe: Recipe) -> Activation:
    """The activation of a recipe.

    Raises
    ------
    ValueError, TypeError, KeyError
        For a recipe of another form, an unknown name or a number that is not finite.
    """
    shift = as_real_array(recipe["shift"], "shift")
    if shift.ndim or not isinstance(recipe["name"], str):
        raise ValueError(f"recipe must hold a name and one shift, got {recipe!r}")
    return activations.get(recipe["name"], **recipe["parameters"]).minus(float(shift))
