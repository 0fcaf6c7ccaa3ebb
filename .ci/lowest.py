"""Prints the lowest version of each requirement that setup.py allows, as constraints for pip."""

import re
from pathlib import Path

TEXT = Path(__file__).parent.parent.joinpath("setup.py").read_text("utf-8")
for name, version in sorted(set(re.findall(r'"([a-z0-9-]+)[~>]=([0-9.]+)"', TEXT))):
    print(f"{name}=={version}")
