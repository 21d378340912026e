"""What all benchmarks share: the machine they ran on, its limits, memory, and fair timing."""

import ctypes
import gc
import json
import multiprocessing
import os
import platform
import statistics
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

_PACKAGES = (
    "certified-ensembles",
    "numpy",
    "scipy",
    "scikit-learn",
    "joblib",
    "torch",
    "skorch",
    "dask",
    "distributed",
    "adversarial-robustness-toolbox",
)


def machine():
    """Return what a reader needs to judge a number: processor, memory, system, versions."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):
        memory = float("nan")
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "memory_GiB": round(memory, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "blas": _blas(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "versions": {name: number for name in _PACKAGES if (number := _version(name))},
    }


def machine_line(about=None):
    """Return :func:`machine` as two lines of text."""
    about = about or machine()
    return (
        f"{about['processor']}, {about['cores']} cores, {about['memory_GiB']} GiB, "
        f"{about['system']}, {about['blas']}, load {about['load']} at the start\n"
        f"Python {about['python']}, "
        + ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    )


def _version(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _blas():
    from threadpoolctl import threadpool_info

    for pool in threadpool_info():
        if pool["user_api"] == "blas":
            return f"{pool['internal_api']} {pool['version']} ({pool.get('architecture', '?')})"
    return "unknown BLAS"


# ---------------------------------------------------------------- limits


def gemm_rate(dtype=np.float32, size=1024, repeats=7):
    """Return the best rate of a square matrix product on one thread, in flop/s."""
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(0)
    a, b = (rng.random((size, size)).astype(dtype) for _ in range(2))
    out = np.empty_like(a)
    with threadpool_limits(1):
        seconds = [_timed(lambda: np.matmul(a, b, out=out)) for _ in range(repeats)]
    return 2 * size**3 / min(seconds)


def bandwidth(n_bytes=1 << 28, repeats=5):
    """Return the best rate of copying a large array on one thread, in bytes read plus written."""
    source, target = np.ones(n_bytes, np.uint8), np.empty(n_bytes, np.uint8)
    return 2 * n_bytes / min(_timed(lambda: np.copyto(target, source)) for _ in range(repeats))


def _timed(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


# ---------------------------------------------------------------- memory


def peak_memory():
    """Return the largest memory that this process has held so far, in GB.

    On Linux the high-water mark of the pages in memory, those of mapped files among them.
    (`getrusage` hands on the mark of the process that started this one.)
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024 / 1e9
    except OSError:
        pass
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if platform.system() == "Darwin" else 1024) / 1e9


def give_back_memory():
    """Collect garbage and return free memory to the system, so that the next start is clean."""
    gc.collect()
    if platform.system() == "Linux":
        ctypes.CDLL(None).malloc_trim(0)


def in_own_process(function, *args, timeout=3600):
    """Return ``function(*args)`` and the peak memory in GB of the new process that ran it.

    The process starts afresh, so that nothing of this one counts; the function has to be
    importable. Other processes that it starts are not counted.
    """
    context = multiprocessing.get_context("spawn")
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(writer, function, args))
    process.start()
    writer.close()
    try:
        if not reader.poll(timeout):
            raise TimeoutError(f"{function.__name__} took more than {timeout} seconds")
        return reader.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"{function.__name__} ended with code {process.exitcode}") from None
    finally:
        process.join(1)
        if process.is_alive():
            process.terminate()


def _answer(writer, function, args):
    result = function(*args)
    writer.send((result, peak_memory()))


# ---------------------------------------------------------------- timing


def interleaved(contenders, repeats):
    """Run contenders in turn, several times, so that a slow minute hits all of them.

    Parameters
    ----------
    contenders : dict of str to callable
        Each returns a number or a dict of numbers (seconds).
    repeats : int

    Returns
    -------
    runs : dict of str to list
        What each returned, in order.
    """
    runs = {name: [] for name in contenders}
    names = list(contenders)
    for turn in range(repeats):
        for name in names if turn % 2 == 0 else names[::-1]:
            give_back_memory()
            runs[name].append(contenders[name]())
    return runs


def median(values):
    """Return the median of numbers."""
    return float(statistics.median(values))


def spread_of_ratio(above, below):
    """Return median, least and greatest ratio of runs that stood side by side."""
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    return median(ratios), min(ratios), max(ratios)


def show_ratio(ratio):
    """Return a ratio with its spread as text."""
    return "{:.2f} ({:.2f} to {:.2f})".format(*ratio)


def fitted_exponent(sizes, seconds):
    """Return the slope of the least-squares line through the logarithms: 1 means linear."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


# ---------------------------------------------------------------- results


def save(name, results, folder):
    """Write results beside the machine that they came from, as JSON; return the path."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), "results": results}, indent=1) + "\n")
    return path


def table(header, rows):
    """Return rows as a list-table of reStructuredText."""
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in [header, *rows]:
        for j, cell in enumerate(row):
            lines.append(f"   {'*' if j == 0 else ' '} - {cell}".rstrip())
    return "\n".join(lines) + "\n"


def write_table(name, about, text, folder):
    """Write a table below the machine that it was measured on, for the docs to include."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.txt"
    path.write_text("::\n\n    " + about.replace("\n", "\n    ") + "\n\n" + text)
    return path
