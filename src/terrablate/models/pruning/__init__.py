"""Structured pruning: which channels of a network belong together and can go, and taking them out for good."""

from terrablate.models.pruning.choose import choose
from terrablate.models.pruning.cuts import Cut, cut_channels, cuts_of, replay
from terrablate.models.pruning.sizes import Cost, channel_counts, cost

__all__ = ["Cost", "Cut", "channel_counts", "choose", "cost", "cut_channels", "cuts_of", "replay"]
