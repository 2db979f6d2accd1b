"""Neural operators: pure modules on (batch, channel, *space).

Every operator is built as ``Op(in_channels, out_channels, grid, **options)``, with the grid that it will be
trained on, and maps x (B, C_in, *space) at any resolution of that grid's domain to (B, C_out, *space).
"""

from .deeponet import DeepONet, PODDeepONet
from .ffno import FFNO
from .fno import FNO
from .lsm import LSM
from .mgno import MgNO
from .neuralop import NeuralopModel
from .nio import NIO
from .nsm import NSM
from .pointwise import ChannelLinear, ChannelMLP, Coordinates
from .spectral import SpectralConv
from .t1 import T1, T1U
from .unet import UNet
from .uno import UNO

__all__ = [
    "FFNO",
    "FNO",
    "LSM",
    "NIO",
    "NSM",
    "T1",
    "T1U",
    "UNO",
    "ChannelLinear",
    "ChannelMLP",
    "Coordinates",
    "DeepONet",
    "MgNO",
    "NeuralopModel",
    "PODDeepONet",
    "SpectralConv",
    "UNet",
]
