"""The package is light to import."""

import subprocess
import sys


def test_import_is_light():
    heavy = {"torch", "matplotlib"}
    code = f"import sys, certified_ensembles; print({heavy} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"
