"""PDEBench files whose solution is one ``tensor`` (Takamoto et al., 2022, arXiv:2210.07182, appendix on data format).

1D advection, Burgers and reaction-diffusion hold ``tensor`` (N, T, X), ``x-coordinate`` and ``t-coordinate`` with
one entry more than there are states, and are periodic; Darcy holds ``nu`` (N, X, Y) and ``tensor`` (N, 1, X, Y)
with u = 0 on the boundary. Coordinates are cell centres. The equation's parameters are attributes, or stand in the
file's name.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from ..arrays import open_h5
from ..dataset import Dataset
from ..roles import Roles, assemble
from ..stores import H5Store


def matches(path: Path) -> bool:
    if path.suffix not in (".h5", ".hdf5"):
        return False
    f = open_h5(path)
    return "tensor" in f and "x-coordinate" in f


def read(path: Path, roles: Roles) -> Dataset:
    f = open_h5(path)
    store = H5Store(path)
    if roles.fields:
        return assemble(store, roles, format="HDF5")
    coordinates = {c: f"{c}-coordinate" for c in "xyz" if f"{c}-coordinate" in f}
    attributes = {k: v.tolist() if hasattr(v, "tolist") else v for k, v in f.attrs.items()}
    for name, value in re.findall(r"(beta|Nu|Rho|rho|nu|eta|zeta)_?([0-9][0-9.eE+-]*)", path.stem):
        attributes.setdefault(name, float(value.rstrip(".")))
    if "nu" in f:
        letters = "xyz"[: f["nu"].ndim - 1]
        own = Roles({"u": "tensor", "a": "nu"}, {"u": "nc" + letters, "a": "n" + letters}, coordinates, "cell")
        names = {"a": ("coefficient",), "u": ("u",)}
        return assemble(store, own, format="PDEBench Darcy", attributes=attributes, names=names)
    letters = "xyz"[: f["tensor"].ndim - 2]
    own = Roles({"u": "tensor", "t": "t-coordinate"}, {"u": "nt" + letters}, coordinates, "periodic")
    if roles.kind is not None:
        own = replace(own, kind=roles.kind)
    return assemble(store, own, format="PDEBench", attributes=attributes, names={"u": ("u",)})
