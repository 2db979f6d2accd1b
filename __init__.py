"""nwidth: neural operators, Gaussian processes and reduced bases on the same PDE data.

The public names below are imported on first use, so that ``import nwidth`` and ``nwidth --help`` stay fast.
"""

import importlib
from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("nwidth")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

_PUBLIC = {
    "Grid": "nwidth.backends",
    "Axis": "nwidth.backends",
    "Mesh": "nwidth.backends",
    "Dataset": "nwidth.data",
    "open_dataset": "nwidth.data",
    "Surrogate": "nwidth.data",
    "Prediction": "nwidth.data",
    "NWidthError": "nwidth.errors",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str):
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'nwidth' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
