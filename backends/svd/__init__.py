"""Singular values: the one place that calls the library's SVD."""

from .concatenation import Group, compress_groups, concatenation_bound, group_blocks
from .decompose import METHODS, singular_values, svd
from .dense import SVD
from .distributed import distributed_svd, tsqr
from .hapod import hapod
from .partial import PartialSVD, merge, partial_svd
from .ranks import truncation_rank
from .sources import streaming_svd
from .sparse_updating import SparseIncrementalSVD
from .streaming import StreamingSVD
from .updating import IncrementalSVD
from .weights import InnerProduct, inner_product

__all__ = [
    "METHODS",
    "SVD",
    "Group",
    "IncrementalSVD",
    "InnerProduct",
    "PartialSVD",
    "SparseIncrementalSVD",
    "StreamingSVD",
    "compress_groups",
    "concatenation_bound",
    "distributed_svd",
    "group_blocks",
    "hapod",
    "inner_product",
    "merge",
    "partial_svd",
    "singular_values",
    "streaming_svd",
    "svd",
    "truncation_rank",
    "tsqr",
]
