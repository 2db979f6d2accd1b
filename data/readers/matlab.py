"""MATLAB ``.mat`` files: version 5 through SciPy, version 7.3 as HDF5 with the axes reversed.

The files of the FNO paper (Li et al., arXiv:2010.08895) are known by their keys: Burgers ``a``, ``u`` (N, X); Darcy
``coeff``, ``sol`` (N, X, Y); Navier-Stokes ``a`` (N, X, Y), ``u`` (N, X, Y, T), ``t``. Others need data.fields.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import scipy.io

from ...errors import NWidthError
from ..arrays import first_line
from ..dataset import Dataset
from ..roles import Roles, assemble
from ..stores import H5Store, MemoryStore, Store


def matches(path: Path) -> bool:
    return path.suffix == ".mat"


def read(path: Path, roles: Roles) -> Dataset:
    store = _open(path)
    if roles.fields:
        return assemble(store, roles, format="MATLAB")
    keys = set(store.keys())
    if {"coeff", "sol"} <= keys:
        n = store.shape("sol")[1:]
        own = Roles({"u": "sol", "a": "coeff"}, {"u": "nxy", "a": "nxy"}, kind="nodal", hi=[1.0] * len(n))
        return assemble(store, own, format="FNO Darcy")
    if {"a", "u"} <= keys and len(store.shape("u")) == 2:
        own = Roles({"u": "u", "a": "a"}, {"u": "nx", "a": "nx"}, kind="periodic")
        return assemble(store, own, format="FNO Burgers")
    if {"a", "u", "t"} <= keys and len(store.shape("u")) == 4:
        own = Roles({"u": "u", "u0": "a", "t": "t"}, {"u": "nxyt", "u0": "nxy"}, kind="periodic")
        return assemble(store, own, format="FNO Navier-Stokes")
    raise NWidthError(
        f"open {path}",
        got="keys " + ", ".join(sorted(keys)),
        expected="which is the solution",
        fix="set e.g. data.fields.u=usol data.axes.u=xt data.fields.t=t",
    )


def _open(path: Path) -> Store:
    if h5py.is_hdf5(path):
        return H5Store(path, reverse=True)
    try:
        content = scipy.io.loadmat(path)
    except Exception as e:  # scipy raises many kinds for a damaged file
        raise NWidthError(
            f"open {path}",
            got=f"a file that SciPy cannot read ({first_line(e)})",
            expected="a whole MATLAB file",
            fix="copy or download it again",
        ) from None
    arrays = {k: v for k, v in content.items() if isinstance(v, np.ndarray) and v.dtype.kind in "biufc"}
    return MemoryStore(path, arrays)
