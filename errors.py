"""The one exception that nwidth raises for input it cannot use."""


class NWidthError(ValueError):
    """Bad input, told in one line: what was called, what arrived, what was expected, and what to do.

    The command line prints the message alone and exits with code 2; ``NWIDTH_TRACEBACK=1`` shows the traceback.

    >>> raise NWidthError("svd", got="rank=9 for a 5 x 3 matrix", expected="rank <= 3", fix="lower rank")
    Traceback (most recent call last):
    ...
    nwidth.errors.NWidthError: svd: got rank=9 for a 5 x 3 matrix, expected rank <= 3; lower rank
    """

    def __init__(self, call: str, *, got: str, expected: str = "", fix: str = ""):
        self.call, self.got, self.expected, self.fix = call, got, expected, fix
        message = f"{call}: got {got}"
        if expected:
            message += f", expected {expected}"
        if fix:
            message += f"; {fix}"
        super().__init__(message)

    def __reduce__(self):  # keyword-only arguments survive a trip between processes
        return _rebuild, (self.call, self.got, self.expected, self.fix)


def _rebuild(call: str, got: str, expected: str, fix: str) -> NWidthError:
    return NWidthError(call, got=got, expected=expected, fix=fix)
