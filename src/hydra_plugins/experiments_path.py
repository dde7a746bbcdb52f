"""Hydra finds the studies of `experiments/study/` as choices of the group `study`."""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from terrablate.config.choices import EXPERIMENTS


class ExperimentsPath(SearchPathPlugin):
    """Adds `experiments/` after `conf/`."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Called by Hydra once, before it composes."""
        search_path.append("terrablate", f"file://{EXPERIMENTS}")
