"""Run scripts, each in a fork of one process that has imported what all of them import.

Imports take most of a short script's time. Requests come as lines of JSON, and an exit status goes
back for each.
"""

import json
import os
import runpy
import sys
from pathlib import Path

import matplotlib.pyplot  # noqa: F401
import sklearn.linear_model
import sklearn.model_selection
import sklearn.pipeline  # noqa: F401

import certified_ensembles.datasets
import certified_ensembles.display
import certified_ensembles.features
import certified_ensembles.metrics
import certified_ensembles.planning
import certified_ensembles.representations  # noqa: F401


def run(script, folder, arguments, variables, streams):
    """Run a script as ``python script`` would; what it says goes to two files."""
    for number, name in zip((1, 2), streams, strict=True):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.environ.update(variables)
    os.chdir(folder)
    sys.argv = [script, *arguments]
    sys.path[0] = str(Path(script).parent)
    runpy.run_path(script, run_name="__main__")


def main():
    for line in sys.stdin:
        child = os.fork()
        if child == 0:  # which ends as any script does
            return run(**json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
