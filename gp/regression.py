"""Exact Gaussian process regression of many outputs at once, hyper-parameters by marginal likelihood."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gpytorch
import torch
from gpytorch.constraints import GreaterThan, Interval
from gpytorch.kernels import Kernel, MaternKernel, RBFKernel, ScaleKernel
from torch import Tensor

from ..errors import NWidthError

Validate = tuple[Tensor, Callable[[Tensor], float]]
KERNELS = ("matern12", "matern32", "matern52", "rbf")
_NU = {"matern12": 0.5, "matern32": 1.5, "matern52": 2.5}


class _Model(gpytorch.models.ExactGP):
    def __init__(self, x: Tensor, y: Tensor, likelihood, kernel: Kernel, outputs: int):
        super().__init__(x, y, likelihood)
        self.mean_module = gpytorch.means.ConstantMean(batch_shape=torch.Size([outputs]))
        self.covar_module = kernel

    def forward(self, x: Tensor):
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


class GPRegressor:
    """y_j ~ GP(m_j, s_j^2 k(x, x'; l_j)) + N(0, noise_j), each output j with its own hyper-parameters.

    All outputs form one batch of gpytorch models: m, s, l (one length a coordinate up to ``ard_features``
    coordinates, one for all beyond) and noise maximise the log marginal likelihood by L-BFGS, on at most
    ``fit_samples`` random samples; the posterior then uses every sample by Cholesky. Inputs and outputs are
    standardised. The standard deviation is that of a new observation, noise included.

    Source: Rasmussen and Williams (2006), algorithm 2.1 and equation 5.8.

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
    ):
        if kernel not in KERNELS:
            raise NWidthError("GPRegressor", got=f"kernel={kernel!r}", expected="one of " + ", ".join(KERNELS))
        self.kernel, self.steps, self.fit_samples = kernel, steps, fit_samples
        self.ard_features, self.max_samples, self.min_noise = ard_features, max_samples, min_noise
        self.hyper: dict[str, Tensor] = {}
        self.x: Tensor | None = None
        self.y: Tensor | None = None
        self.x_scale: Tensor | None = None
        self.y_shift: Tensor | None = None
        self.y_scale: Tensor | None = None
        self._posterior: tuple[_Model, Tensor, Tensor] | None = None

    def fit(self, x: Tensor, y: Tensor, validate: Validate | None, *, seed: int) -> list[dict[str, Any]]:
        if len(x) > self.max_samples:
            raise NWidthError(
                "GPRegressor.fit",
                got=f"{len(x)} samples",
                expected=f"at most {self.max_samples}",
                fix="lower split.train, or raise max_samples (memory grows with its square)",
            )
        self._standardise(x, y)
        pick = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[: self.fit_samples]
        model = self._model(self._x(x[pick]), self._y(y[pick]))
        nll = self._maximise(model)
        self.hyper = {k: v.detach().clone() for k, v in model.state_dict().items()}
        self.refit(x, y)
        record: dict[str, Any] = {"kernel": self.kernel, "negative_log_likelihood": nll}
        if validate is not None:
            record["val_rel_l2"] = validate[1](self.predict(validate[0])[0])
        return [record]

    refine = fit

    def refit(self, x: Tensor, y: Tensor) -> None:
        self._standardise(x, y)
        if self.hyper and self.hyper["covar_module.base_kernel.raw_lengthscale"].shape != self._lengths(x, y):
            # other samples have POD and PCA of other ranks: learn the hyper-parameters anew
            self.hyper = {}
            self.fit(x, y, None, seed=0)
            return
        self.x, self.y, self._posterior = x, y, None

    def _lengths(self, x: Tensor, y: Tensor) -> tuple[int, int, int]:
        return y.shape[1], 1, x.shape[1] if x.shape[1] <= self.ard_features else 1

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
        common = {"ard_num_dims": ard, "batch_shape": outputs, "lengthscale_constraint": Interval(1e-3, 1e4)}
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
        assert self.x is not None and self.y_scale is not None and self.y_shift is not None
        with torch.no_grad():
            model, factor, dual = self._condition()
            outputs = len(self.y_scale)
            means, spreads = [], []
            for part in x.split(256):  # bounds memory: outputs x 256 x samples
                z = self._x(part).expand(outputs, *part.shape)
                across = model.covar_module(z, model.train_inputs[0]).to_dense()
                prior = model.covar_module(z, diag=True)
                explained = torch.linalg.solve_triangular(factor, across.mT, upper=False).square().sum(-2)
                means.append(model.mean_module(z) + (across @ dual[..., None])[..., 0])
                spreads.append((prior - explained + model.likelihood.noise).clamp_min(0).sqrt())
            mean, std = torch.cat(means, -1).mT, torch.cat(spreads, -1).mT
        return self.y_shift + mean * self.y_scale, std * self.y_scale

    def _condition(self) -> tuple[_Model, Tensor, Tensor]:
        """The model on all samples, the Cholesky factor of K + noise I (outputs, N, N), and its solve with y - m."""
        if self._posterior is None:
            assert self.x is not None and self.y is not None
            model = self._model(self._x(self.x), self._y(self.y))
            model.load_state_dict(self.hyper)
            model.eval()
            inputs = model.train_inputs[0]
            K = model.covar_module(inputs).to_dense()
            K.diagonal(dim1=-2, dim2=-1).add_(model.likelihood.noise)
            factor, info = torch.linalg.cholesky_ex(K)
            if int(info.abs().max()):
                raise NWidthError(
                    "GPRegressor",
                    got="a covariance that is not positive definite to round-off",
                    expected="distinct inputs",
                    fix="raise min_noise, or remove repeated samples",
                )
            rest = (model.train_targets - model.mean_module(inputs))[..., None]
            self._posterior = (model, factor, torch.cholesky_solve(rest, factor)[..., 0])
        return self._posterior

    @property
    def selected(self) -> dict[str, Any]:
        return {"kernel": self.kernel}

    @property
    def parameters(self) -> int:
        return sum(v.numel() for k, v in self.hyper.items() if k.split(".")[-1].startswith("raw_"))

    def state_dict(self) -> dict[str, Any]:
        return {"hyper": self.hyper, "x": self.x, "y": self.y}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.hyper, self._posterior = dict(state["hyper"]), None
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
