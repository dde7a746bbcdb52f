"""Named random streams: each is a function of (seed, name, counters), so that resuming and ranks need no state."""

import hashlib

import numpy as np


def stream_seed(seed: int, name: str, *counters: int) -> int:
    """A 32-bit seed for the stream of this name; torch's CPU generator uses no more bits than that.

    Args:
        seed: the seed of the run, or of the split.
        name: what the stream is for, such as `order`.
        counters: where in the run, such as epoch and step.
    """
    text = "/".join([name, str(seed), *map(str, counters)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "little")


def numpy_stream(seed: int, name: str, *counters: int) -> np.random.Generator:
    """A numpy generator for the stream of this name."""
    return np.random.Generator(np.random.Philox(stream_seed(seed, name, *counters)))
