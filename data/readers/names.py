"""Roles by the names that arrays usually have, for files of no known format and a config that names nothing."""

from __future__ import annotations

import re
from dataclasses import replace

from ..roles import Roles
from ..stores import Store

# role or coordinate -> names; a name with more after an underscore (snapshots_vx) is one channel
NAMES = {
    "u": ("u", "y", "sol", "solution", "solutions", "usol", "uu", "snapshots", "states", "output", "outputs", "target"),
    "a": ("a", "x", "input", "inputs", "coeff", "coefficient", "coefficients", "f", "forcing"),
    "u0": ("u0", "initial", "ic"),
    "mu": ("mu", "params", "parameters", "theta"),
    "t": ("t", "tt", "time", "times"),
    "points": ("points", "pts", "coords", "coordinates", "nodes", "vertices"),
    "cells": ("cells", "triangles", "tetrahedra", "elements", "connectivity"),
}


def by_name(store: Store, given: Roles) -> tuple[Roles, dict[str, tuple[str, ...]]]:
    """``given`` with the fields and coordinates that the keys' names tell, and channel names; unchanged where the
    config names fields, or where the names tell no solution.

    ``x``, ``y`` and ``z`` with one axis are coordinates, not fields. A role that two unrelated keys could play is
    left open, so that the reader asks.
    """
    if given.fields:
        return given, {}
    keys = store.keys()
    coordinates = dict(given.coordinates)
    for key in keys:
        short = key.rsplit("/")[-1].lower()
        if short in ("x", "y", "z") and len([s for s in store.shape(key) if s != 1]) == 1:
            coordinates.setdefault(short, key)
    fields: dict[str, list[str]] = {}
    for role, names in NAMES.items():
        found = [k for k in keys if k not in coordinates.values() and _stem(k) in names]
        exact = [k for k in found if k.rsplit("/")[-1].lower() in names]
        chosen = exact if len(exact) == 1 else found
        related = len({_stem(k) for k in chosen}) == 1 and len({store.shape(k) for k in chosen}) == 1
        if chosen and (len(chosen) == 1 or (related and role in ("u", "a", "u0"))):
            fields[role] = chosen
    for name in ("points", "cells"):
        if name in fields:
            coordinates.setdefault(name, fields.pop(name)[0])
    if "points" in coordinates:
        coordinates = {k: v for k, v in coordinates.items() if k in ("points", "cells")}
    if "u" not in fields:
        return given, {}
    joined = {r: ks for r, ks in fields.items() if r in ("u", "a", "u0") and len(ks) > 1}
    channels = {r: tuple(_channel(k) for k in ks) for r, ks in joined.items()}
    return replace(given, fields=fields, coordinates=coordinates), channels


def _stem(key: str) -> str:
    """``snapshots`` of ``run/Snapshots_vx``; short names stand alone, so that ``u_x`` is not taken for ``u``."""
    short = key.rsplit("/")[-1].lower()
    head = re.split(r"[_\-]", short)[0]
    return head if len(head) > 2 else short


def _channel(key: str) -> str:
    return re.split(r"[_\-]", key.rsplit("/")[-1], maxsplit=1)[-1]
