"""What a wheel holds: the code with its data, and the shipped presets where the installed code looks for them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_a_build_holds_presets_and_cards_beside_the_code(tmp_path: Path):
    shutil.copytree(ROOT / "kerass2s", tmp_path / "kerass2s", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "README.md", "LICENSE", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    home = tmp_path / "exported" / "small"
    (home / "preset").mkdir(parents=True)
    for name in ("preset/config.json", "README.md", "model.onnx"):
        (home / name).write_text("x", encoding="utf-8")
    (tmp_path / "exported" / "demo").mkdir()
    command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", "made"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    made = tmp_path / "made" / "kerass2s"
    assert (made / "recipes" / "quickstart.yaml").is_file() and (made / "deploy" / "web" / "model.mjs").is_file()
    shipped = {path.relative_to(made / "exported").as_posix() for path in (made / "exported").rglob("*.*")}
    assert shipped == {"small/preset/config.json", "small/README.md"}
