"""MATLAB ``.mat`` files: version 5 through SciPy, version 7.3 as HDF5 with the axes reversed.

The files of the FNO paper (Li et al., arXiv:2010.08895) are known by their keys: Burgers ``a``, ``u`` (N, X), or
``input`` (N, X), ``output`` (N, T, X), ``tspan``, ``visc``; Darcy ``coeff``, ``sol`` (N, X, Y); Navier-Stokes ``a``
(N, X, Y), ``u`` (N, X, Y, T), ``t``. One trajectory as in the PINN papers (``usol`` or ``uu``, ``x``, ``t`` or ``tt``)
is read by the names and sizes of its arrays; its axis is periodic where the points run from -c to c - dx. Others
need data.fields.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import scipy.io
from torch import Tensor

from ...errors import NWidthError
from ..dataset import Dataset
from ..handles import first_line
from ..roles import Roles, assemble
from ..stores import H5Store, MemoryStore, Store
from .names import by_name


def matches(path: Path) -> bool:
    return path.suffix == ".mat"


def read(path: Path, roles: Roles) -> Dataset:
    store = _open(path)
    if roles.fields:
        return assemble(store, roles, format="MATLAB")
    keys = set(store.keys())
    parameters = _parameters(store, path)
    if {"coeff", "sol"} <= keys:
        letters = "xyz"[: len(store.shape("sol")) - 1]
        roles.own_conventions(f"open {path}")
        axes = "n" + letters
        own = Roles({"u": "sol", "a": "coeff"}, {"u": axes, "a": axes}, {}, roles.kind or "nodal", roles.lo, roles.hi)
        known = {"boundary": dict.fromkeys(letters, "dirichlet")} if roles.kind is None else {}
        return assemble(store, own, format="FNO Darcy", attributes=known | parameters)
    a = next((k for k in ("a", "input") if k in keys), "")
    u = next((k for k in ("u", "output") if k in keys), "")
    if a and u:
        found = _from_initial(store, roles, a, u)
        if found is not None:
            roles.own_conventions(f"open {path}")
            own, name = replace(found[0], lo=roles.lo, hi=roles.hi), found[1]
            letters = "xyz"[: len(store.shape(a)) - 1]
            known = {"boundary": dict.fromkeys(letters, "periodic")} if roles.kind is None else {}
            return assemble(store, own, format=name, attributes=known | parameters)
    named, channels = by_name(store, roles)
    if named.fields:
        if named.kind is None and set(named.coordinates) == {"x"}:
            named = replace(named, kind="periodic" if _lacks_end(store.values(named.coordinates["x"])) else None)
        known = {"boundary": {"x": "periodic"}} if named.kind == "periodic" and roles.kind is None else {}
        return assemble(store, named, format="MATLAB", names=channels, attributes=known)
    raise NWidthError(
        f"open {path}",
        got="keys " + ", ".join(sorted(keys)),
        expected="which is the solution",
        fix="set e.g. data.fields.u=usol data.axes.u=xt data.fields.t=t",
    )


def _from_initial(store: Store, roles: Roles, a: str, u: str) -> tuple[Roles, str] | None:
    """Roles of the FNO files with an initial state, by the count of their axes; None for others."""
    t = next((k for k in ("t", "tspan") if k in store.keys()), None)
    times = {"t": t} if t else {}
    kind = roles.kind or "periodic"
    before, after = len(store.shape(a)), len(store.shape(u))
    if before == after == 2:
        return Roles({"u": u, "a": a}, {"u": "nx", "a": "nx"}, kind=kind), "FNO Burgers"
    if before == 2 and after == 3:
        return Roles({"u": u, "u0": a, **times}, {"u": "ntx", "u0": "nx"}, kind=kind), "FNO Burgers"
    if before == 3 and after == 4 and t:
        return Roles({"u": u, "u0": a, **times}, {"u": "nxyt", "u0": "nxy"}, kind=kind), "FNO Navier-Stokes"
    return None


def _parameters(store: Store, path: Path) -> dict[str, dict[str, float]]:
    """The viscosity, which the file holds as ``visc`` or its name tells (V1e-3)."""
    if "visc" in store.keys() and store.values("visc").numel() == 1:
        return {"parameters": {"visc": float(store.values("visc").flatten()[0])}}
    named = re.search(r"_V(\d+(?:\.\d+)?e-?\d+)(_|$)", path.stem)
    return {"parameters": {"nu": float(named[1])}} if named else {}


def _lacks_end(x: Tensor) -> bool:
    """Whether equally spaced points run from -c to c - dx: a period whose end is not stored."""
    x = x.double().flatten()
    if len(x) < 3:
        return False
    gap = float(x[-1] - x[0]) / (len(x) - 1)
    return gap > 0 and abs(float(x[0] + x[-1]) + gap) < 1e-3 * gap


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
