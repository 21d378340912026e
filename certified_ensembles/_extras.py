"""What is imported where something is tabled or drawn: no other part needs it."""


def import_pandas(asking):
    """Return pandas, or say what needs it."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError(f"{asking} needs pandas. Install it: pip install pandas") from error
    return pandas


def import_pyplot(asking):
    """Return matplotlib's pyplot, or say what needs it."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"{asking} needs matplotlib. Install it: pip install matplotlib"
        ) from error
    return plt
