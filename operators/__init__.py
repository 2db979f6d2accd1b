"""Neural operators: pure modules on (batch, channel, *space).

Every operator is built as ``Op(in_channels, out_channels, grid, **options)``, with the grid that it will be
trained on, and maps x (B, C_in, *space) at any resolution of that grid's domain to (B, C_out, *space).
"""

from .fno import FNO
from .mgno import MgNO
from .neuralop import NeuralopModel
from .pointwise import ChannelLinear, ChannelMLP, Coordinates
from .spectral import SpectralConv

__all__ = ["FNO", "ChannelLinear", "ChannelMLP", "Coordinates", "MgNO", "NeuralopModel", "SpectralConv"]
