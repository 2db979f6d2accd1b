"""Data sets of PDE inputs and solutions: files, splits, normalisation, metrics, and the surrogate interface."""

from .arrays import LazyArray
from .dataset import Dataset, concatenate
from .disk import H5Array
from .native import load_native, save_dataset
from .readers import open_dataset
from .roles import Roles
from .splits import OrderedSplit, ParameterSplit, RandomSplit, Split, TimeSplit, apply_split
from .surrogate import FitLog, Prediction, Surrogate
from .windows import Windows

__all__ = [
    "Dataset",
    "FitLog",
    "H5Array",
    "LazyArray",
    "OrderedSplit",
    "ParameterSplit",
    "Prediction",
    "RandomSplit",
    "Roles",
    "Split",
    "Surrogate",
    "TimeSplit",
    "Windows",
    "apply_split",
    "concatenate",
    "load_native",
    "open_dataset",
    "save_dataset",
]
