"""Arrays of other libraries: where they lie, and the way to the host."""

import numpy as np
from array_api_compat import array_namespace, is_array_api_obj, to_device

# DLPack's numbers of memory that the host reads: its own, and what CUDA or ROCm have pinned.
_HOST = (1, 3, 11)


def is_on_device(X):
    """Say whether X is an array in memory that the host cannot read."""
    return _is_foreign(X) and X.__dlpack_device__()[0] not in _HOST


def on_host(X):
    """Return an array of another library as one of numpy, anything else as it is.

    An array in the memory of the host is not copied.
    """
    if not _is_foreign(X):
        return X
    try:
        return np.asarray(to_device(without_gradients(X), "cpu"))
    except (TypeError, ValueError, RuntimeError) as error:
        error.add_note(
            f"Raised while rows of type {X.dtype} were copied to numpy: pass a dense array of a "
            "type that numpy knows, such as float32."
        )
        raise


def _is_foreign(X):
    if isinstance(X, np.ndarray | np.generic) or not hasattr(X, "__dlpack_device__"):
        return False
    return is_array_api_obj(X)


def without_gradients(X):
    return X.detach() if hasattr(X, "detach") else X


def is_finite_table(X):
    """Say whether X, on a device, has two axes, one row or more, and finite numbers alone."""
    if X.ndim != 2 or 0 in X.shape:
        return False
    xp = array_namespace(X)
    if xp.isdtype(X.dtype, "real floating"):
        return bool(xp.all(xp.isfinite(without_gradients(X))))
    return xp.isdtype(X.dtype, ("bool", "integral"))
