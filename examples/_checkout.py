"""In a checkout, read data in the compact forms of the tests as well."""

import runpy
from pathlib import Path

runpy.run_path(str(Path(__file__).parents[1] / "tests" / "data_forms.py"))["publish"]()
