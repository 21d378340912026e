"""What one operation of an attacker is called, and what a radius promises, in words."""

import numpy as np
from sklearn.base import is_regressor

from .certificates.threats import TIME_THREATS

NO_UNIT = "poisoning operations"
UNITS = {
    "insertion_deletion": "insertions + deletions of training rows",
    "label_flip": "label flips",
    "replacement": "replaced training rows",
    "duration": "consecutive hostile periods",
    "earliness": "hostile newest periods",
}
# What one operation is where not rows are counted, by what decided the partitions.
_OWNERS = {"source": "hostile sources", "period": "hostile periods"}
_ANNOTATORS = "hostile annotators"
_TARGETS = "changed targets"  # of numbers
# What one operation is where members see blocks of columns.
_COLUMNS = {"columns": "hostile columns", "words": "hostile words"}
# How a sentence says "any one" and "any n", where the words of an axis do not go into one.
_IN_SENTENCES = {
    UNITS["insertion_deletion"]: (
        "any single inserted or deleted training row",
        "any # inserted or deleted training rows",
    ),
    UNITS["label_flip"]: ("any single flipped label", "any # flipped labels"),
    UNITS["duration"]: (
        "a hostile owner of any single period",
        "a hostile owner of any # consecutive periods",
    ),
    UNITS["earliness"]: (
        "a hostile owner of the newest period",
        "a hostile owner of the # newest periods",
    ),
}


def unit_of(ensemble, threat):
    """Return what one operation is for a fitted ensemble; None for a threat without words."""
    unit = column_unit_of(ensemble)
    return row_unit_of(ensemble, threat) if unit is None else unit


def column_unit_of(ensemble):
    """Return what one operation on columns is; None where an ensemble certifies rows alone."""
    return _COLUMNS.get(getattr(_that_certifies(ensemble), "_column_unit", None))


def row_unit_of(ensemble, threat):
    """Return what one operation on rows is for a fitted ensemble."""
    ensemble, unit = _that_certifies(ensemble), None
    if threat not in TIME_THREATS:
        unit = _OWNERS.get(getattr(ensemble, "partitioned_by_", None))
    if unit is None and getattr(ensemble, "_counts_annotators", False):
        unit = _ANNOTATORS
    if unit is None and threat == "label_flip" and predicts_numbers(ensemble):
        return _TARGETS
    return UNITS.get(threat) if unit is None else unit


def predicts_numbers(ensemble):
    """Say whether an estimator is a regressor; one that knows no tags is none."""
    return hasattr(ensemble, "__sklearn_tags__") and is_regressor(ensemble)


def _that_certifies(ensemble):
    """Return what decides the unit of an estimator that answers by another one's radius."""
    return getattr(ensemble, "_that_certifies", ensemble)


def any_of(count, unit):
    """Return what predictions survive, as the end of a sentence.

    Parameters
    ----------
    count : int
        At least 1.
    unit : str
        What one operation is, in the plural.

    Returns
    -------
    words : str
        Such as "any 20 hostile sources".
    """
    if unit in _IN_SENTENCES:
        one, several = _IN_SENTENCES[unit]
        return one if count == 1 else several.replace("#", f"{count:,}")
    return f"any single {_singular(unit)}" if count == 1 else f"any {count:,} {unit}"


def _singular(unit):
    if unit.endswith("ies"):
        return unit[:-3] + "y"
    return unit[:-1] if unit.endswith("s") and not unit.endswith("ss") else unit


def round_budgets(largest, most=10):
    """Return 0, 1, 2, 5, 10, ... up to the largest radius; every so many, where these are many."""
    budgets, scale = [0], 1
    while scale <= largest:
        budgets += [b for b in (scale, 2 * scale, 5 * scale) if b <= largest]
        scale *= 10
    if len(budgets) <= most:
        return budgets
    return [budgets[i] for i in np.linspace(0, len(budgets) - 1, most).round().astype(int)]


def question_in_words(asked):
    """Return what radii promise; None for whether the prediction stays.

    Parameters
    ----------
    asked : dict
        Arguments of ``certify``: `target`, `top_k`, or of a regressor `tolerance`, `lower` and
        `upper`; those that are None are not asked.
    """
    asked = {name: value for name, value in asked.items() if value is not None}
    if "tolerance" in asked:
        if np.ndim(asked["tolerance"]):
            return "moves no further than its tolerance"
        return f"moves by no more than {asked['tolerance']:g}"
    if "lower" in asked or "upper" in asked:
        return "stays within its bounds"
    if "top_k" in asked:
        return f"stays among the first {asked['top_k']}"
    target = asked.get("target")
    if isinstance(target, set | frozenset):
        target = sorted(target)
    if isinstance(target, list | tuple | range):
        return f"never becomes {' or '.join(map(str, target))}"
    if target is not None:
        return f"never becomes {target if np.ndim(target) == 0 else 'its target'}"
    return None
