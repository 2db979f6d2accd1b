"""PDEBench (Takamoto et al., 2022, arXiv:2210.07182), every family, known by its keys.

Files with a sample axis: 1D advection, Burgers and reaction-diffusion hold ``tensor`` (N, T, X), ``x-coordinate`` and
``t-coordinate``, which has one entry more than there are states; compressible flow holds ``density``, ``pressure``,
``Vx``[, ``Vy``[, ``Vz``]] (N, T, X[, Y[, Z]]); Darcy holds ``nu`` (N, X, Y) and ``tensor`` (N, 1, X, Y). Coordinates
are cell centres. The equation's parameters are attributes, or stand in the file's name; boundary conditions stand in
the names of some files and else follow from the family. Files with a group for each trajectory and the incompressible
Navier-Stokes files have modules of their own.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py

from ...errors import NWidthError
from ..dataset import Dataset
from ..handles import open_h5
from ..roles import Roles, assemble, with_kind
from ..stores import H5Store
from . import pdebench_groups, pdebench_incompressible
from .hdf5 import is_hdf5, plain_attributes

FLOW = ("density", "pressure", "Vx", "Vy", "Vz")
# attributes of the files; the names of files spell some of them otherwise
PARAMETERS = {"beta": "beta", "nu": "Nu", "rho": "rho", "eta": "eta", "zeta": "zeta", "m": "M"}
# (words in the file's name, boundary condition): the first that fits; ``trans`` is transmissive
BOUNDARY = (
    (r"(^|_)periodic(_|$)|advection|burgers|reacdiff|otvortex|^turb_", "periodic"),
    (r"(^|_)trans(_|$)|^sod\d|shock|blastwave", "open"),
)


def matches(path: Path) -> bool:
    if not is_hdf5(path):
        return False
    f = open_h5(path)
    return (
        ("x-coordinate" in f and ("tensor" in f or FLOW[0] in f))
        or pdebench_groups.matches(f)
        or pdebench_incompressible.matches(f)
    )


def read(path: Path, roles: Roles) -> Dataset:
    f = open_h5(path)
    if roles.fields:
        return assemble(H5Store(path), roles, format="HDF5")
    roles.own_conventions(f"open {path}")
    if pdebench_groups.matches(f):
        return pdebench_groups.read(path, roles)
    if pdebench_incompressible.matches(f):
        return with_kind(pdebench_incompressible.read(path), roles.kind)
    return _arrays(path, f, roles)


def _arrays(path: Path, f: h5py.File, roles: Roles) -> Dataset:
    store = H5Store(path)
    letters = "".join(c for c in "xyz" if f"{c}-coordinate" in f)
    coordinates = {c: f"{c}-coordinate" for c in letters}
    parameters, attributes = _parameters(path, f)
    if "nu" in f and "tensor" in f:
        own = Roles({"u": "tensor", "a": "nu"}, {"u": "nc" + letters, "a": "n" + letters}, coordinates, "cell")
        boundary: dict[str, str] = dict.fromkeys(letters, "dirichlet")
        names: dict[str, tuple[str, ...]] = {"a": ("coefficient",), "u": ("u",)}
        family = "PDEBench Darcy"
    else:
        keys = ["tensor"] if "tensor" in f else [k for k in FLOW if k in f]
        kinds, boundary = _kinds(path, f, letters)
        axes = _axes(store, keys[0], letters)
        own = Roles({"u": keys, "t": "t-coordinate"}, {"u": axes}, coordinates, kinds)
        channels = ("u",) if keys == ["tensor"] else tuple(keys)
        names = {"u": channels, "u0": channels}
        family = "PDEBench" if keys == ["tensor"] else "PDEBench compressible flow"
    if roles.kind is not None:
        own, boundary = replace(own, kind=roles.kind), {}
    attributes |= {"parameters": parameters} | ({"boundary": boundary} if boundary else {})
    return assemble(store, own, format=family, attributes=attributes, names=names)


def _axes(store: H5Store, key: str, letters: str) -> str:
    """(N, T, *space), with a channel axis at the end, or a first axis of length 1 as the merging script leaves it."""
    shape = store.shape(key)
    sizes = tuple(store.shape(f"{c}-coordinate")[0] for c in letters)
    times = store.shape("t-coordinate")[0]
    for axes in ("nt" + letters, "nt" + letters + "c", "cnt" + letters):
        if len(shape) == len(axes):
            at = axes.index("t")
            space = tuple(shape[axes.index(c)] for c in letters)
            if space == sizes and shape[at] in (times, times - 1) and (axes[0] == "n" or shape[0] == 1):
                return axes
    raise NWidthError(
        f"{store.path}: {key!r}",
        got=f"shape {shape} with {sizes} coordinates and {times} times",
        expected=f"(samples, times, {', '.join(letters)}), with one time more than states or as many",
        fix="name the axes with data.fields and data.axes",
    )


def _kinds(path: Path, f: h5py.File, letters: str) -> tuple[str | list[str], dict[str, str]]:
    """Kinds of axes and boundary conditions; the axes of a file that nothing is known of are cells."""
    name = path.stem.lower()
    if name.startswith("kh_"):  # Kelvin-Helmholtz: two streams along x
        boundary = {c: "periodic" if c == "x" else "open" for c in letters}
        return ["periodic" if boundary[c] == "periodic" else "cell" for c in letters], boundary
    named = next((kind for words, kind in BOUNDARY if re.search(words, name)), None)
    if named is None and "tensor" in f:  # advection, Burgers, reaction-diffusion under another name
        named = "periodic"
    if named is None:
        return "cell", {}
    return ("periodic" if named == "periodic" else "cell"), dict.fromkeys(letters, named)


def _parameters(path: Path, f: h5py.File) -> tuple[dict[str, float], dict[str, Any]]:
    """The equation's parameters, from attributes and else from the file's name, and the other attributes."""
    attributes = plain_attributes(f)
    parameters = {
        PARAMETERS[k.lower()]: float(v)
        for k, v in attributes.items()
        if k.lower() in PARAMETERS and isinstance(v, int | float)
    }
    others = {k: v for k, v in attributes.items() if not (k.lower() in PARAMETERS and isinstance(v, int | float))}
    for name, value in re.findall(r"(?:^|_)(beta|nu|rho|eta|zeta|m)(\d[\d.]*(?:e[+-]?\d+)?)", path.stem, re.IGNORECASE):
        if re.fullmatch(r"0\d+", value):  # M01 stands for 0.1
            value = f"0.{value[1:]}"
        parameters.setdefault(PARAMETERS[name.lower()], float(value.rstrip(".")))
    return parameters, others
