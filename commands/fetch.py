"""nwidth fetch: download a public data set into the cache, or check what is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from ..data.download import PLACES, cache_folder, ensure
from ..data.transfer import size_text
from ..errors import NWidthError
from ..training.page import console


def run(config: dict[str, Any], folder: Path) -> None:
    """Every file of ``data=NAME``, with its checksum compared; what is in the cache is not downloaded again."""
    data = config["data"]
    if not data.get("download"):
        named = ", ".join(sorted(p.stem for p in (Path(__file__).parent.parent / "conf" / "data").glob("*_*.yaml")))
        raise NWidthError("fetch", got="no public data set", expected=f"data=NAME, one of {named}")
    out = console()
    found = ensure({**data, "path": None}, check=True, say=lambda text: out.print(text, style="dim"))
    for place in PLACES:
        paths = found.get(place) or []
        for path in [paths] if isinstance(paths, str) else paths:
            out.print(f"{place}: {path} ({size_text(Path(path).stat().st_size)})")
    name = HydraConfig.get().runtime.choices.get("data") if HydraConfig.initialized() else "NAME"
    out.print(f"in {cache_folder()}; look into it: nwidth info data={name}")
