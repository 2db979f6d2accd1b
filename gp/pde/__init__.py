"""Differential equations solved by Gaussian processes, with error bars, and the solvers to compare them with."""
