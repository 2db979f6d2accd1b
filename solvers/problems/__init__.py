"""The equations: one module each."""

from .advection import Advection
from .allen_cahn import AllenCahn
from .burgers import Burgers
from .darcy import Darcy
from .diffusion_reaction import DiffusionReaction, FisherKPP
from .elasticity import ElasticityBlock
from .euler import Euler, euler_riemann
from .fitzhugh_nagumo import FitzHughNagumo
from .fractional import FractionalDiffusion
from .graetz import Graetz
from .gray_scott import GrayScott, Patches
from .heat import Heat
from .helmholtz import Helmholtz, Window
from .kdv import KdV
from .kuramoto_sivashinsky import KuramotoSivashinsky
from .lorenz96 import Lorenz96, Lorenz96TwoScale
from .navier_stokes import NavierStokes, streamfunction, velocity, vorticity
from .nonlinear_poisson import NonlinearPoisson
from .poisson import Poisson
from .schroedinger import Schroedinger
from .shallow_water import ShallowWater, dam_break
from .thermal_block import ThermalBlock, ThermalInclusion
from .wave import Wave

__all__ = [
    "Advection",
    "AllenCahn",
    "Burgers",
    "Darcy",
    "DiffusionReaction",
    "ElasticityBlock",
    "Euler",
    "FisherKPP",
    "FitzHughNagumo",
    "FractionalDiffusion",
    "Graetz",
    "GrayScott",
    "Heat",
    "Helmholtz",
    "KdV",
    "KuramotoSivashinsky",
    "Lorenz96",
    "Lorenz96TwoScale",
    "NavierStokes",
    "NonlinearPoisson",
    "Patches",
    "Poisson",
    "Schroedinger",
    "ShallowWater",
    "ThermalBlock",
    "ThermalInclusion",
    "Wave",
    "Window",
    "dam_break",
    "euler_riemann",
    "streamfunction",
    "velocity",
    "vorticity",
]
