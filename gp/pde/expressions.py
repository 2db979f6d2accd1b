"""Formulas from configs, such as ``sin(6*x)*cos(100*x)``, as functions of points."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...errors import NWidthError

Function = Callable[[Tensor], Tensor]
NAMES = "xyz"
FUNCTIONS = ("sin", "cos", "tan", "exp", "log", "sqrt", "abs", "sinh", "cosh", "tanh", "atan2", "erf")
_OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}


def expression(text: str | float, call: str = "expression") -> Function:
    """The function of points (n, d) -> (n,) that a formula in x, y, z (or t, the last coordinate) and pi describes.

    Only numbers, + - * / **, and sin, cos, tan, exp, log, sqrt, abs, sinh, cosh, tanh, atan2, erf: nothing is ever
    evaluated as Python. Raises NWidthError for anything else, and for coordinates that the points do not have.

    >>> expression("2*x + sin(pi*y)**2")(torch.tensor([[1.0, 0.5]])).tolist()
    [3.0]
    """
    try:
        tree = ast.parse(str(text), mode="eval").body
    except SyntaxError:
        raise NWidthError(call, got=f"{text!r}", expected="a formula such as sin(6*x)*cos(100*x)") from None
    _check(tree, str(text), call)

    def function(x: Tensor) -> Tensor:
        value = _value(tree, x, str(text), call)
        return value.expand(len(x)) if isinstance(value, Tensor) else x.new_full((len(x),), value)

    return function


def _check(node: ast.AST, text: str, call: str) -> None:
    fine = (
        (isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool))
        or (isinstance(node, ast.Name) and node.id in (*NAMES, "t", "pi"))
        or (isinstance(node, ast.BinOp | ast.UnaryOp) and type(node.op) in _OPERATORS)
        or (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in FUNCTIONS
            and not node.keywords
            and len(node.args) == (2 if node.func.id == "atan2" else 1)
        )
    )
    if not fine:
        raise NWidthError(
            call,
            got=f"{ast.unparse(node)!r} in {text!r}",
            expected="numbers, x y z t pi, + - * / **, and " + ", ".join(FUNCTIONS),
        )
    children = node.args if isinstance(node, ast.Call) else ast.iter_child_nodes(node)
    for child in children:
        if isinstance(child, ast.expr):
            _check(child, text, call)


def _value(node: ast.AST, x: Tensor, text: str, call: str) -> Tensor | float:
    if isinstance(node, ast.Constant):
        return node.value  # type: ignore[return-value]
    if isinstance(node, ast.Name):
        if node.id == "pi":
            return math.pi
        axis = x.shape[1] - 1 if node.id == "t" else NAMES.index(node.id)
        if axis >= x.shape[1]:
            raise NWidthError(
                call, got=f"{node.id} in {text!r}", expected=f"the {x.shape[1]} coordinates of the domain"
            )
        return x[:, axis]
    if isinstance(node, ast.UnaryOp):
        return _OPERATORS[type(node.op)](_value(node.operand, x, text, call))
    if isinstance(node, ast.BinOp):
        left, right = _value(node.left, x, text, call), _value(node.right, x, text, call)
        try:
            return _OPERATORS[type(node.op)](left, right)
        except (ZeroDivisionError, OverflowError):
            raise NWidthError(call, got=f"{ast.unparse(node)!r}", expected="finite numbers") from None
    assert isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    values = [torch.as_tensor(_value(a, x, text, call), dtype=x.dtype, device=x.device) for a in node.args]
    return getattr(torch, node.func.id)(*values)


def derivative(function: Function, x: Tensor, order: tuple[int, ...]) -> Tensor:
    """d^order function / dx^order at x (n, d) by automatic differentiation.

    >>> x = torch.tensor([[2.0, 3.0]])
    >>> derivative(lambda x: x[:, 0] ** 3 * x[:, 1], x, (2, 1)).tolist()
    [12.0]
    """
    with torch.enable_grad():
        points = x.detach().clone().requires_grad_()
        value = function(points)
        for axis, times in enumerate(order):
            for _ in range(times):
                if not value.requires_grad:
                    return torch.zeros_like(x[:, 0])
                (slope,) = torch.autograd.grad(value.sum(), points, create_graph=True, allow_unused=True)
                if slope is None:
                    return torch.zeros_like(x[:, 0])
                value = slope[:, axis]
    return value.detach()
