"""What the command line would build: the config of a command with overrides."""

from hydra import compose, initialize_config_module
from omegaconf import OmegaConf


def config(command: str, *overrides: str) -> dict:
    with initialize_config_module("nwidth.conf", version_base="1.3"):
        return OmegaConf.to_container(compose(command, overrides=list(overrides)), resolve=True)  # type: ignore[return-value]
