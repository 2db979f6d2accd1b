from .random_fields import GaussianField
from .burgers import Burgers
