"""Neural operators: pure modules on (batch, channel, *space)."""

from .fno import FNO
from .pointwise import ChannelLinear, ChannelMLP, Coordinates
from .spectral import SpectralConv

__all__ = ["FNO", "ChannelLinear", "ChannelMLP", "Coordinates", "SpectralConv"]
