"""Gaussian process regression of many outputs at once, hyper-parameters by marginal likelihood."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import gpytorch
import torch
from gpytorch.constraints import GreaterThan, Interval
from gpytorch.kernels import Kernel, MaternKernel, RBFKernel, ScaleKernel
from torch import Tensor

from ..errors import NWidthError
from .coupled import Coregionalised, SharedKernel, minimise
from .gram import check_inputs, check_samples, cholesky
from .inducing import Hyper, InducingPosterior, inducing_points, maximise_bound

Validate = tuple[Tensor, Callable[[Tensor], float]]
KERNELS = ("matern12", "matern32", "matern52", "rbf")
COUPLINGS = ("independent", "shared", "icm")
LENGTHS = (1e-3, 1e4)
_NU = {"matern12": 0.5, "matern32": 1.5, "matern52": 2.5}


class _Model(gpytorch.models.ExactGP):
    def __init__(self, x: Tensor, y: Tensor, likelihood, kernel: Kernel, outputs: int):
        super().__init__(x, y, likelihood)
        self.mean_module = gpytorch.means.ConstantMean(batch_shape=torch.Size([outputs]))
        self.covar_module = kernel

    def forward(self, x: Tensor):
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


class Posterior(Protocol):
    """Mean and standard deviation of new observations, each (outputs, n), at inputs (n, p) in scaled units."""

    def predict(self, x: Tensor) -> tuple[Tensor, Tensor]: ...


class _Exact:
    """By the Cholesky factor of K + noise I (outputs, N, N)."""

    def __init__(self, model: _Model):
        self.model, inputs = model, model.train_inputs[0]
        K = model.covar_module(inputs).to_dense().detach()
        K.diagonal(dim1=-2, dim2=-1).add_(model.likelihood.noise)
        self.factor, self.jitter = cholesky(K)
        rest = (model.train_targets - model.mean_module(inputs))[..., None]
        self.dual = torch.cholesky_solve(rest, self.factor)[..., 0]

    def predict(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = x.expand(len(self.dual), *x.shape)
        across = self.model.covar_module(z, self.model.train_inputs[0]).to_dense()
        prior = self.model.covar_module(z, diag=True)
        explained = torch.linalg.solve_triangular(self.factor, across.mT, upper=False).square().sum(-2)
        mean = self.model.mean_module(z) + (across @ self.dual[..., None])[..., 0]
        noise = self.model.likelihood.noise + self.jitter
        return mean, ((prior - explained).clamp_min(0) + noise).sqrt()


def _state(model: _Model) -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in model.state_dict().items()}


class GPRegressor:
    """y_j ~ GP(m_j, s_j^2 k(x, x'; l_j)) + N(0, noise_j), each output j with its own hyper-parameters.

    All outputs form one batch of gpytorch models: m, s, l (one length a coordinate up to ``ard_features``
    coordinates, one for all beyond) and noise maximise the log marginal likelihood by L-BFGS, on at most
    ``fit_samples`` random samples; the posterior then uses every sample by Cholesky. Inputs and outputs are
    standardised. The standard deviation is that of a new observation, noise included. Everything is computed in double
    precision and answered in that of the inputs; a jitter that a covariance needed counts as noise, and is named among
    what was selected.

    ``coupling``: independent outputs; shared, one kernel and ratio of noise for all and a scale s_j for each, at the
    cost of one factorisation; icm, outputs that inform each other (``Coregionalised``, with ``icm_rank`` columns of W).

    More than ``max_samples`` samples: ``inducing`` of the inputs carry the posterior (``InducingPosterior``), and
    ``inducing_steps`` of L-BFGS on the collapsed bound of all samples refine the hyper-parameters; null: refused.

    Source: Rasmussen and Williams (2006), sections 2.2 and 5.4.1; Titsias, AISTATS 2009; Bonilla, Chai and
    Williams, NIPS 2007.

    >>> x = torch.linspace(0, 1, 30, dtype=torch.float64)[:, None]
    >>> gp = GPRegressor(); _ = gp.fit(x, torch.cat([torch.sin(6 * x), x**2], 1), None, seed=0)
    >>> mean, std = gp.predict(x + 0.01)
    >>> bool((mean[:-1, 0] - torch.sin(6 * x[:-1, 0] + 0.06)).abs().max() < 1e-2), tuple(std.shape)
    (True, (30, 2))
    """

    uses_seed = True

    def __init__(
        self,
        kernel: str = "matern52",
        steps: int = 40,
        fit_samples: int = 250,
        ard_features: int = 20,
        max_samples: int = 4000,
        min_noise: float = 1e-8,
        coupling: str = "independent",
        icm_rank: int = 2,
        inducing: int | None = 300,
        inducing_steps: int = 10,
    ):
        if kernel not in KERNELS:
            raise NWidthError("GPRegressor", got=f"kernel={kernel!r}", expected="one of " + ", ".join(KERNELS))
        if coupling not in COUPLINGS:
            raise NWidthError("GPRegressor", got=f"coupling={coupling!r}", expected="one of " + ", ".join(COUPLINGS))
        self.coupling, self.icm_rank = coupling, icm_rank
        self.inducing, self.inducing_steps = inducing, inducing_steps
        self.kernel, self.steps, self.fit_samples = kernel, steps, fit_samples
        self.ard_features, self.max_samples, self.min_noise = ard_features, max_samples, min_noise
        self.hyper: dict[str, Tensor] = {}
        self.x: Tensor | None = None
        self.y: Tensor | None = None
        self.x_scale: Tensor | None = None
        self.y_shift: Tensor | None = None
        self.y_scale: Tensor | None = None
        self.points: Tensor | None = None  # inducing inputs
        self.jitter = 0.0
        self._posterior: Posterior | None = None

    def fit(self, x: Tensor, y: Tensor, validate: Validate | None, *, seed: int) -> list[dict[str, Any]]:
        x, y = check_samples("GPRegressor.fit", x, y)
        sparse = self._sparse(len(x))
        self._standardise(x, y)
        pick = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[: self.fit_samples]
        nll = self._learn(self._x(x[pick]), self._y(y[pick]))
        self.points = None
        if sparse:
            nll = self._learn_sparse(self._x(x), self._y(y), seed)
        self.refit(x, y)
        record: dict[str, Any] = {"kernel": self.kernel, "negative_log_likelihood": nll}
        if validate is not None:
            record["val_rel_l2"] = validate[1](self.predict(validate[0])[0])
        return [record]

    def _sparse(self, n: int) -> bool:
        """Whether so many samples take inducing points."""
        if n > self.max_samples and (self.inducing is None or self.coupling == "icm"):
            raise NWidthError(
                "GPRegressor.fit",
                got=f"{n} samples" + (" with coupling=icm" if self.coupling == "icm" else ""),
                expected=f"at most {self.max_samples}",
                fix="give inducing points and coupling independent or shared, lower split.train, or raise max_samples",
            )
        return n > self.max_samples

    def _learn(self, x: Tensor, y: Tensor) -> float:
        """Hyper-parameters from few samples; the negative log likelihood a value (summed over independent outputs)."""
        lengths = x.shape[1] if x.shape[1] <= self.ard_features else 1
        if self.coupling == "independent":
            model = self._model(x, y)
            nll = self._maximise(model)
            self.hyper = _state(model)
        else:
            shared = self.coupling == "shared"
            loss = SharedKernel.loss if shared else Coregionalised.loss
            start = SharedKernel.start(x, y, lengths) if shared else Coregionalised.start(x, y, lengths, self.icm_rank)
            self.hyper, nll = minimise(lambda h: loss(self.kernel, x, y, h, self.min_noise), start, self.steps)
        return nll

    def _learn_sparse(self, x: Tensor, y: Tensor, seed: int) -> float:
        """Inducing points, and hyper-parameters by the bound of all samples; its negative a value, summed likewise."""
        assert self.inducing is not None and self.x_scale is not None
        floor, steps = self.min_noise, self.inducing_steps
        if self.coupling == "shared":
            length = self.hyper["log_length"].exp()
            z = inducing_points(self.kernel, x, length, self.inducing, seed)
            self.hyper, nll = minimise(
                lambda h: SharedKernel.sparse(self.kernel, z, x, y, h, floor)[0], self.hyper, steps
            )
        else:
            plain = self._plain(len(y))
            z = inducing_points(self.kernel, x, plain.length.log().mean(0).exp(), self.inducing, seed)
            plain, bounds = maximise_bound(self.kernel, plain, z, x, y, steps, floor)
            model = self._model(x[:2], y[:, :2])
            model.mean_module.constant = plain.mean
            model.covar_module.base_kernel.lengthscale = plain.length[:, None].clamp(*LENGTHS)
            model.covar_module.outputscale, model.likelihood.noise = plain.variance, plain.noise[:, None]
            self.hyper, nll = _state(model), -float(bounds.sum()) / len(x)
        self.points = z * self.x_scale
        return nll

    def _plain(self, outputs: int) -> Hyper:
        """Hyper-parameters of independent outputs."""
        assert self.x_scale is not None
        x = self.x_scale.new_zeros(2, len(self.x_scale))
        model = self._model(x, x.new_zeros(outputs, 2))
        model.load_state_dict(self.hyper)
        found = (
            model.mean_module.constant,
            model.covar_module.base_kernel.lengthscale[:, 0],
            model.covar_module.outputscale,
            model.likelihood.noise[:, 0],
        )
        return Hyper(*(v.detach() for v in found))

    refine = fit

    def refit(self, x: Tensor, y: Tensor) -> None:
        x, y = check_samples("GPRegressor.refit", x, y)
        if self.hyper and not (self._fits(x, y) and self._sparse(len(x)) == (self.points is not None)):
            # other samples have POD and PCA of other ranks, or need a sparse posterior: learn the hyper-parameters anew
            self.hyper = {}
            self.fit(x, y, None, seed=0)
            return
        self._standardise(x, y)
        self.x, self.y = x, y
        self._posterior = self._condition()

    def _fits(self, x: Tensor, y: Tensor) -> bool:
        """Whether the hyper-parameters are for so many coordinates and outputs."""
        lengths, h = x.shape[1] if x.shape[1] <= self.ard_features else 1, self.hyper
        if self.points is not None and self.points.shape[1] != x.shape[1]:
            return False
        if self.coupling == "independent":
            return h["covar_module.base_kernel.raw_lengthscale"].shape == (y.shape[1], 1, lengths)
        return len(h["log_length"]) == lengths and (self.coupling == "shared" or len(h["factor"]) == y.shape[1])

    def _standardise(self, x: Tensor, y: Tensor) -> None:
        spread = x.std(0)
        self.x_scale = torch.where(spread > 1e-12, spread, torch.ones_like(spread))
        if x.shape[1] > self.ard_features:  # one length for all: keep the coordinates' proportions
            self.x_scale = torch.full_like(spread, float(spread.square().sum().sqrt()) or 1.0)
        self.y_shift = y.mean(0)
        std = y.std(0)
        self.y_scale = torch.where(std > 0, std, torch.ones_like(std))

    def _x(self, x: Tensor) -> Tensor:
        assert self.x_scale is not None
        return x / self.x_scale

    def _y(self, y: Tensor) -> Tensor:
        assert self.y_shift is not None and self.y_scale is not None
        return ((y - self.y_shift) / self.y_scale).mT.contiguous()

    def _model(self, x: Tensor, y: Tensor) -> _Model:
        outputs = torch.Size([len(y)])
        ard = x.shape[1] if x.shape[1] <= self.ard_features else None
        common = {"ard_num_dims": ard, "batch_shape": outputs, "lengthscale_constraint": Interval(*LENGTHS)}
        base = RBFKernel(**common) if self.kernel == "rbf" else MaternKernel(nu=_NU[self.kernel], **common)
        kernel = ScaleKernel(base, batch_shape=outputs)
        likelihood = gpytorch.likelihoods.GaussianLikelihood(
            batch_shape=outputs, noise_constraint=GreaterThan(self.min_noise)
        )
        model = _Model(x.expand(len(y), *x.shape), y, likelihood, kernel, len(y)).double()
        base.lengthscale = 2.0 * x.shape[1] ** 0.5 if ard else 1.0
        kernel.outputscale = 1.0
        likelihood.noise = 1e-3
        return model

    def _maximise(self, model: _Model) -> float:
        model.train()
        likelihood = gpytorch.mlls.ExactMarginalLogLikelihood(model.likelihood, model)
        optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=self.steps, line_search_fn="strong_wolfe")
        inputs, targets = model.train_inputs[0], model.train_targets

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = -likelihood(model(inputs), targets).sum()
            loss.backward()
            return loss

        with _dense():
            optimizer.step(closure)
            loss = float(closure().detach())
        return loss

    def predict(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        if self.x is None or self.y_scale is None or self.y_shift is None:
            raise NWidthError("GPRegressor.predict", got="a model that was not fitted", fix="call fit first")
        inputs = check_inputs("GPRegressor.predict", x, self.x.shape[1])
        if self._posterior is None:
            self._posterior = self._condition()
        with torch.no_grad():  # parts bound memory: outputs x 256 x samples
            parts = [self._posterior.predict(self._x(part)) for part in inputs.split(256)]
        mean, std = (torch.cat(v, -1).mT * self.y_scale for v in zip(*parts))
        return (self.y_shift + mean).to(x.dtype), std.to(x.dtype)

    @torch.no_grad()
    def _condition(self) -> Posterior:
        """The posterior of all samples."""
        assert self.x is not None and self.y is not None
        x, y, floor = self._x(self.x), self._y(self.y), self.min_noise
        self.jitter = 0.0
        if self.points is not None:
            z = self._x(self.points)
            if self.coupling == "shared":
                hyper = SharedKernel.sparse(self.kernel, z, x, y, self.hyper, floor)[1]
            else:
                hyper = self._plain(len(y))
            return InducingPosterior(self.kernel, hyper, z, x, y)
        if self.coupling == "independent":
            model = self._model(x, y)
            model.load_state_dict(self.hyper)
            exact = _Exact(model.eval())
            self.jitter = exact.jitter
            return exact
        if self.coupling == "icm":
            return Coregionalised(self.kernel, x, y, self.hyper, floor)
        shared = SharedKernel(self.kernel, x, y, self.hyper, floor)
        self.jitter = shared.jitter
        return shared

    @property
    def selected(self) -> dict[str, Any]:
        jitter = {"jitter": self.jitter} if self.jitter else {}
        return {"kernel": self.kernel, "coupling": self.coupling, **jitter}

    @property
    def parameters(self) -> int:
        learned = ("raw_", "log_", "factor")
        return sum(v.numel() for k, v in self.hyper.items() if k.split(".")[-1].startswith(learned))

    def state_dict(self) -> dict[str, Any]:
        return {"hyper": self.hyper, "x": self.x, "y": self.y, "points": self.points}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.hyper, self.points, self._posterior = dict(state["hyper"]), state["points"], None
        if state["x"] is not None:
            self._standardise(state["x"], state["y"])
        self.x, self.y = state["x"], state["y"]


class _dense:
    """Cholesky for every solve and log-determinant: exact, and faster than iterations at these sizes."""

    def __enter__(self):
        s = gpytorch.settings
        self.contexts = [
            s.fast_computations(covar_root_decomposition=False, log_prob=False, solves=False),
            s.max_cholesky_size(10**9),
            s.skip_posterior_variances(False),
            s.debug(False),
        ]
        for c in self.contexts:
            c.__enter__()

    def __exit__(self, *error):
        for c in reversed(self.contexts):
            c.__exit__(*error)
