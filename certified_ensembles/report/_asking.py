"""One ensemble, asked about all that it covers, and what it warns of meanwhile."""

import contextlib
import warnings

from .._certificate import CertificateWarning, effective_threat, find_ensemble
from .._units import column_unit_of, unit_of
from ..certificates.threats import THREATS
from ..display._asking import ask

# Rows without a radius are counted by the radius -1, so this warning voids nothing.
_COUNTED = "Nothing is certified for"


@contextlib.contextmanager
def noting():
    """Yield the list of the warnings that are raised inside, and raise them again at the end."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught
    for warning in caught:
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def ask_all(estimator, X, y, threat, asked, caught):
    """Return what is answered about every threat, and which of them are void.

    Parameters
    ----------
    estimator : fitted estimator
    X, y : test rows and their truth
    threat : str, sequence of str or None
        None: all that are covered, and not the same by another name.
    asked : dict
        The question.
    caught : list
        To which warnings are appended while it runs.

    Returns
    -------
    answers : dict of str to (right, Certificate)
    void : list of str
    """
    ensemble = find_ensemble(estimator)
    default = effective_threat(ensemble)
    if isinstance(threat, str):
        threats = [threat]
    elif threat is not None:
        threats = list(threat)
    else:
        threats = [default, *(t for t in THREATS if t != default)]
    answers, void, units = {}, [], set()
    for name in threats:
        unit, n_before = unit_of(ensemble, name), len(caught)
        if threat is None and unit in units:  # the same operations by another name
            continue
        try:
            answer = ask(estimator, X, y, threat=name, **asked)
        except ValueError:
            if threat is not None or name == default:
                raise
            del caught[n_before:]
            continue
        units.add(unit)
        # What counts columns goes by no threat to rows.
        name = (column_unit_of(ensemble) or name).removeprefix("hostile ")
        answers[name] = answer
        if any(map(_voids, caught[n_before:])):
            void.append(name)
    return answers, void


def with_unit(certificates, unit):
    """Return certificates that name their one operation as the user does."""
    if len(certificates) > 1:
        raise ValueError(
            f"unit={unit!r} names one operation, and {len(certificates)} threats are reported, "
            f"{list(certificates)}. Pass threat=... as well."
        )
    return {name: own._replace(unit=unit) for name, own in certificates.items()}


def texts(caught):
    """Return what was warned of, each once, those of certificates first."""
    ordered = sorted(caught, key=lambda w: not issubclass(w.category, CertificateWarning))
    return list(dict.fromkeys(f"{w.category.__name__}: {w.message}" for w in ordered))


def _voids(warning):
    """Say whether a warning says that radii promise nothing."""
    own = issubclass(warning.category, CertificateWarning)
    return own and not str(warning.message).startswith(_COUNTED)
