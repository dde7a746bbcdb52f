"""Checks of several labels an image: what is defined for one label only is refused."""

from terrablate.config.schema import Config, FolderData
from terrablate.errors import ConfigError


def check_labels(config: Config) -> None:
    """Whether all that acts on labels can act on several.

    Raises:
        ConfigError: names the key, what was given and what is allowed.
    """
    data = config.data
    if data.labels == "one":
        return
    given = f"data={data.name} has several labels an image"
    if isinstance(data, FolderData):
        raise ConfigError(
            "data.labels=several: data=folder takes the one class of an image from its folder; leave it at one"
        )
    if config.loss.loss != "bce":
        raise ConfigError(f"loss={config.loss.name}: asks for the one class of an image, and {given}; use loss=bce")
    if data.label_noise is not None:
        raise ConfigError(
            f"data.label_noise={data.label_noise}: replaces the one class of an image by another, and {given}; leave it"
            " at null"
        )
    if data.imbalance is not None:
        raise ConfigError(
            f"data.imbalance={data.imbalance:g}: leaves out images class by class, and {given}, so that each image"
            " counts for other classes, too; leave it at null"
        )
    if data.sampler == "balanced":
        raise ConfigError(
            f"data.sampler=balanced: shows every class equally often, and {given}, so that no order of images can do"
            " that; use data.sampler=shuffle"
        )
