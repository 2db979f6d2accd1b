"""A user's config folder before the packaged one."""

from __future__ import annotations

from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin


def put_first(folder: str) -> None:
    """Let configs in ``folder`` win over packaged ones of the same name; Hydra's --config-dir alone only adds."""
    path = Path(folder).resolve()

    class UserFolderFirst(SearchPathPlugin):
        def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
            search_path.prepend("nwidth user folder", f"file://{path}")

    Plugins.instance().register(UserFolderFirst)
