"""Named random streams."""

from terrablate.random_streams import numpy_stream, stream_seed


def test_a_stream_is_a_function_of_name_seed_and_counters() -> None:
    seeds = {
        stream_seed(0, "order", 0),
        stream_seed(0, "order", 1),
        stream_seed(1, "order", 0),
        stream_seed(0, "probe", 0),
        stream_seed(0, "order"),
        stream_seed(0, "order", 0, 0),
    }
    assert len(seeds) == 6
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_digits_stay_as_they_were_in_older_versions() -> None:
    assert stream_seed(0, "order", 0) == 1080263902
    assert numpy_stream(0, "order", 0).permutation(8).tolist() == [0, 4, 5, 2, 6, 7, 1, 3]


def test_each_call_starts_the_stream_anew() -> None:
    assert numpy_stream(3, "a").integers(1000, size=4).tolist() == numpy_stream(3, "a").integers(1000, size=4).tolist()
