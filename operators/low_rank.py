"""Spectral weights as tensor decompositions, applied to coefficients by their factors in the cheapest order."""

from __future__ import annotations

import math
import operator
import string
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn

from ..errors import NWidthError

FACTORIZATIONS = ("none", "tucker", "cp", "tt")
Rank = float | int | Sequence[int]

# Moving one number costs as much as this many multiplications: measured on one core, see ``plan``.
MOVE = 8
NOMINAL_BATCH = 16  # the batch size for which a compiled graph is planned


class LowRankWeight(nn.Module, ABC):
    """A tensor W of ``shape`` in factors, real or complex; W is (C_in, C_out, *counts), or (C, *counts) if separable.

    Kossaifi et al., Multi-grid tensorized Fourier neural operator, TMLR 2024, arXiv:2310.00120, section 3. Ranks and
    the order of the directions are those of tensorly. Complex factors are real tensors (..., 2). The factors are
    drawn from normal distributions of one scale, so that E |W|^2 = ``std`` ^ 2 for each entry.
    """

    def __init__(self, shape: Sequence[int], ranks: tuple[int, ...], complex: bool):
        super().__init__()
        self.shape, self.ranks, self.complex = tuple(shape), ranks, complex

    def extra_repr(self) -> str:
        return f"shape={self.shape}, ranks={self.ranks}"

    @abstractmethod
    def terms(self, dtype: torch.dtype) -> list[tuple[str, Tensor]]:
        """The factors in this real dtype, each with one letter a direction: W's are ``letters(len(shape))``."""

    def dense(self) -> Tensor:
        """W itself."""
        terms = self.terms(next(self.parameters()).dtype)
        return contract([(letters(len(self.shape)), None), *terms], None)

    def forward(self, x: Tensor, starts: Sequence[int], separable: bool = False) -> Tensor:
        """sum_i W[i, o, k] x[k, b, i], (*counts, B, C_out) from x (*counts, B, C_in); separable: W[i, k] x[k, b, i].

        ``starts``: where the modes of x begin among those of W, for each axis; x has as many modes or fewer.
        """
        w = letters(len(self.shape))
        channels, modes = (w[:1], w[1:]) if separable else (w[:2], w[2:])
        dtype = torch.float64 if x.dtype in (torch.float64, torch.complex128) else torch.float32
        windows = {m: (s, operator.index(n)) for m, s, n in zip(modes, starts, x.shape)}
        terms = [(name, self._cut(name, t, windows)) for name, t in self.terms(dtype)]
        return contract([(modes + "Z" + channels[-1], None), (modes + "Z" + channels[0], x), *terms], x)

    def _cut(self, name: str, factor: Tensor, windows: dict[str, tuple[int, int]]) -> Tensor:
        for dim, letter in enumerate(name):
            if letter in windows and windows[letter][1] < factor.shape[dim]:
                factor = factor.narrow(dim, *windows[letter])
        return factor

    def _draw(self, shape: Sequence[int], std: float, generator: torch.Generator | None) -> nn.Parameter:
        if not self.complex:
            return nn.Parameter(std * torch.randn(*shape, generator=generator))
        return nn.Parameter(std / math.sqrt(2) * torch.randn(*shape, 2, generator=generator))

    def _as_numbers(self, p: Tensor, dtype: torch.dtype) -> Tensor:
        return torch.view_as_complex(p.to(dtype)) if self.complex else p.to(dtype)


class Tucker(LowRankWeight):
    """W[i, j, ...] = sum core[p, q, ...] U_1[i, p] U_2[j, q] ..."""

    def __init__(self, shape: Sequence[int], rank: Rank, *, complex: bool, std: float, generator=None):
        ranks = tucker_ranks(shape, rank)
        super().__init__(shape, ranks, complex)
        each = (std / math.sqrt(math.prod(ranks))) ** (1 / (len(ranks) + 1))
        self.core = self._draw(ranks, each, generator)
        self.factors = nn.ParameterList(self._draw((n, r), each, generator) for n, r in zip(shape, ranks))

    def terms(self, dtype: torch.dtype) -> list[tuple[str, Tensor]]:
        n = len(self.shape)
        outer, inner = letters(n), letters(n, skip=n)
        names = [inner, *(a + b for a, b in zip(outer, inner))]
        return [(name, self._as_numbers(p, dtype)) for name, p in zip(names, [self.core, *self.factors])]


class CP(LowRankWeight):
    """W[i, j, ...] = sum_r weights[r] U_1[i, r] U_2[j, r] ..."""

    def __init__(self, shape: Sequence[int], rank: Rank, *, complex: bool, std: float, generator=None):
        ranks = (cp_rank(shape, rank),)
        super().__init__(shape, ranks, complex)
        each = (std / math.sqrt(ranks[0])) ** (1 / len(self.shape))
        self.weights = nn.Parameter(self._draw(ranks, 0.0, generator).detach())
        with torch.no_grad():
            (self.weights[..., 0] if complex else self.weights).fill_(1)
        self.factors = nn.ParameterList(self._draw((n, *ranks), each, generator) for n in shape)

    def terms(self, dtype: torch.dtype) -> list[tuple[str, Tensor]]:
        names = ["Y", *(a + "Y" for a in letters(len(self.shape)))]
        return [(name, self._as_numbers(p, dtype)) for name, p in zip(names, [self.weights, *self.factors])]


class TensorTrain(LowRankWeight):
    """W[i, j, ...] = G_1[:, i, :] G_2[:, j, :] ..., a product of matrices, the first and last of them of rank one."""

    def __init__(self, shape: Sequence[int], rank: Rank, *, complex: bool, std: float, generator=None):
        ranks = tt_ranks(shape, rank)
        super().__init__(shape, ranks, complex)
        each = (std / math.sqrt(math.prod(ranks))) ** (1 / len(self.shape))
        sizes = zip(ranks, shape, ranks[1:])
        self.factors = nn.ParameterList(self._draw(size, each, generator) for size in sizes)

    def terms(self, dtype: torch.dtype) -> list[tuple[str, Tensor]]:
        n = len(self.shape)
        bonds = letters(n - 1, skip=n)
        found = []
        for i, (name, p) in enumerate(zip(letters(n), self.factors)):
            t = self._as_numbers(p, dtype)
            t = t[0] if i == 0 else t
            t = t[..., 0] if i == n - 1 else t
            found.append((bonds[i - 1 : i] * (i > 0) + name + bonds[i : i + 1], t))
        return found


KINDS: dict[str, Callable[..., LowRankWeight]] = {"tucker": Tucker, "cp": CP, "tt": TensorTrain}


def low_rank(
    factorization: str,
    shape: Sequence[int],
    rank: Rank,
    *,
    complex: bool,
    std: float,
    generator: torch.Generator | None = None,
) -> LowRankWeight:
    """The decomposition of this name: tucker, cp or tt; see ``tucker_ranks``, ``cp_rank``, ``tt_ranks``.

    >>> w = low_rank("tucker", (8, 8, 6, 5), 0.1, complex=True, std=0.1)
    >>> w.ranks, tuple(w.dense().shape), sum(p.numel() for p in w.parameters()) // 2
    ((4, 4, 3, 2), (8, 8, 6, 5), 188)
    """
    if factorization not in KINDS:
        raise NWidthError("SpectralConv", got=f"factorization={factorization!r}", expected=", ".join(FACTORIZATIONS))
    return KINDS[factorization](shape, rank, complex=complex, std=std, generator=generator)


def tucker_ranks(shape: Sequence[int], rank: Rank) -> tuple[int, ...]:
    """Ranks of each direction: given, or of a fraction c of the sizes with c^N prod n + c sum n^2 = rank prod n.

    A float is the share of the parameters of the dense tensor that is kept, an int the same rank for all directions.

    >>> tucker_ranks((8, 8, 6, 5), 0.1), tucker_ranks((8, 8, 6), 4), tucker_ranks((8, 8, 6), (2, 3, 6))
    ((4, 4, 3, 2), (4, 4, 4), (2, 3, 6))
    """
    if not isinstance(rank, float):
        return _given(rank, len(shape), "tucker")
    dense, squares = math.prod(shape), sum(n * n for n in shape)
    low, high = 0.0, max(_share(rank), 1.0)
    for _ in range(100):  # the left side grows with c
        c = (low + high) / 2
        low, high = (c, high) if dense * c ** len(shape) + squares * c < rank * dense else (low, c)
    return tuple(max(round(n * high), 1) for n in shape)


def cp_rank(shape: Sequence[int], rank: Rank) -> int:
    """The number of terms: given, or rank prod n / sum n.

    >>> cp_rank((8, 8, 6, 5), 0.1), cp_rank((8, 8, 6, 5), 3)
    (7, 3)
    """
    if isinstance(rank, float):
        return max(round(_share(rank) * math.prod(shape) / sum(shape)), 1)
    if not isinstance(rank, int) or rank < 1:
        raise NWidthError("SpectralConv", got=f"rank={rank}", expected="one rank >= 1, or a fraction, for cp")
    return rank


def tt_ranks(shape: Sequence[int], rank: Rank) -> tuple[int, ...]:
    """(1, r_1, ..., r_{N-1}, 1): given, or r_i = c (n_i + n_{i+1}) / 2 with c from the number of parameters.

    >>> tt_ranks((8, 8, 6, 5), 0.1), tt_ranks((8, 8, 6), 4), tt_ranks((8, 8, 6), (1, 2, 3, 1))
    ((1, 4, 3, 3, 1), (1, 4, 4, 1), (1, 2, 3, 1))
    """
    order = len(shape)
    if isinstance(rank, int):
        return (1, *_given(rank, order - 1, "tt"), 1)
    if not isinstance(rank, float):
        ranks = _given(rank, order + 1, "tt")
        if ranks[0] != 1 or ranks[-1] != 1:
            raise NWidthError("SpectralConv", got=f"rank={rank}", expected="1 at both ends for tt")
        return ranks
    means = [(a + b) / 2 for a, b in zip(shape, shape[1:])]
    square = sum(means[i - 1] * shape[i] * means[i] for i in range(1, order - 1)) or means[0] ** 2 * shape[0]
    linear = shape[0] * means[0] + shape[-1] * means[-1]
    c = (-linear + math.sqrt(linear**2 + 4 * square * _share(rank) * math.prod(shape))) / (2 * square)
    return (1, *(max(round(m * c), 1) for m in means), 1)


def _share(rank: float) -> float:
    if not 0 < rank < math.inf:
        raise NWidthError("SpectralConv", got=f"rank={rank}", expected="a share of the dense parameters > 0, or ranks")
    return rank


def _given(rank: Rank, n: int, name: str) -> tuple[int, ...]:
    ranks = (rank,) * n if isinstance(rank, int) else tuple(rank)  # type: ignore[arg-type]
    if len(ranks) != n or not all(isinstance(r, int) and r >= 1 for r in ranks):
        raise NWidthError("SpectralConv", got=f"rank={rank}", expected=f"{n} ranks >= 1, or a fraction, for {name}")
    return ranks


def letters(n: int, skip: int = 0) -> str:
    return string.ascii_lowercase[skip : skip + n]


def contract(terms: list[tuple[str, Tensor | None]], like: Tensor | None) -> Tensor:
    """The sum of products of all terms but the first, which names the directions of the answer.

    Two factors at a time, in the order of ``plan``. ``like``: the factor whose batch, direction Z, is variable.
    """
    (out, _), *rest = terms
    sizes: dict[str, int] = {}
    for name, t in rest:
        assert t is not None
        sizes |= dict(zip(name, t.shape))
    if like is not None:
        sizes["Z"] = NOMINAL_BATCH if torch.compiler.is_compiling() else _rounded(sizes["Z"])
    known = tuple(sorted((k, operator.index(v)) for k, v in sizes.items()))
    names, values = [name for name, _ in rest], [t for _, t in rest]
    for i, j, made in plan(tuple(names), out, known):
        a, b = values.pop(j), values.pop(i)  # j > i
        step = f"{names.pop(i)},{names.pop(j - 1)}->{made}"
        values.append(torch.einsum(step, b, a))
        names.append(made)
    return values[0]  # type: ignore[return-value]


def _rounded(batch: int) -> int:
    """The next power of two: plans are kept for these."""
    return 1 << (max(batch, 1) - 1).bit_length()


def plan(names: tuple[str, ...], out: str, sizes: tuple[tuple[str, int], ...]) -> tuple[tuple[int, int, str], ...]:
    """Which two factors to multiply next, as (i, j, the directions of the product), until one is left.

    The cheapest of all orders, by dynamic programming over subsets: a product costs its multiplications, and ``MOVE``
    for each number of its result. Forming the dense tensor first is one of the orders.

    >>> sizes = (("Z", 4), ("a", 8), ("b", 8), ("r", 2))
    >>> plan(("Za", "ar", "br"), "Zb", sizes)  # x U first, then times V: the 8 x 8 matrix is never formed
    ((0, 1, 'Zr'), (0, 1, 'Zb'))
    """
    return _plan(names, out, sizes)


# What torch.compiler.assume_constant_result sets; calling that imports the compiler, half the time any command starts.
plan._dynamo_marked_constant = True  # type: ignore[attr-defined]


@lru_cache(maxsize=512)
def _plan(names: tuple[str, ...], out: str, sizes: tuple[tuple[str, int], ...]) -> tuple[tuple[int, int, str], ...]:
    size, n = dict(sizes), len(names)
    sets = [set(name) for name in names]
    everything = (1 << n) - 1
    inside = [set().union(*(s for i, s in enumerate(sets) if m >> i & 1)) for m in range(everything + 1)]
    kept = [inside[m] & (inside[everything ^ m] | set(out)) for m in range(everything + 1)]
    best: dict[int, tuple[float, int]] = {1 << i: (0.0, 0) for i in range(n)}
    for m in range(1, everything + 1):
        if m in best:
            continue
        result = MOVE * math.prod(size[k] for k in kept[m])
        options, part = [], (m - 1) & m
        while part:
            other = m ^ part
            if part < other:
                work = math.prod(size[k] for k in kept[part] | kept[other])
                options.append((best[part][0] + best[other][0] + work + result, part))
            part = (part - 1) & m
        best[m] = min(options)
    slots, steps = [1 << i for i in range(n)], []

    def visit(m: int) -> None:
        part = best[m][1]
        if not part:
            return
        visit(part)
        visit(m ^ part)
        i, j = sorted((slots.index(part), slots.index(m ^ part)))
        slots.pop(j), slots.pop(i)
        slots.append(m)
        made = out if m == everything else _arranged(kept[m], out)
        steps.append((i, j, made))

    visit(everything)
    return tuple(steps)


def _arranged(directions: set[str], out: str) -> str:
    """Modes in front, as in the answer, so that products over them are batches without a copy."""
    return "".join(k for k in out if k in directions) + "".join(sorted(directions - set(out)))
