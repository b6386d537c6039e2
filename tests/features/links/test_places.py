"""How many streams and uploads a process takes at the same time, and what it does each second."""

from contextlib import ExitStack
from time import monotonic, sleep
from uuid import uuid4

import pytest

from app.features.links.errors import TooManyStreams
from app.features.links.places import EachSecond, Limit, Places

LIMIT = Limit("streams", most=5, most_of_a_token=3, error=TooManyStreams)


class TestPlaces:
    """What is open is limited for each token and in all. A place is free again afterwards."""

    def test_a_token_has_few(self) -> None:
        places = Places(LIMIT)
        one, other = uuid4(), uuid4()
        for _ in range(2):
            with ExitStack() as opened:
                for _ in range(3):
                    opened.enter_context(places.taken(one))
                with pytest.raises(TooManyStreams, match="has 3 streams open"):
                    opened.enter_context(places.taken(one))
                opened.enter_context(places.taken(other))

    def test_a_process_has_no_more_than_it_can_serve(self) -> None:
        places = Places(LIMIT)
        with ExitStack() as opened:
            for _ in range(5):
                opened.enter_context(places.taken(uuid4()))
            with pytest.raises(TooManyStreams, match="All 5 streams"):
                opened.enter_context(places.taken(uuid4()))
        with places.taken(uuid4()):
            pass


class TestEachSecond:
    """So many in a second of the clock, and as many in the next."""

    def test_the_rest_is_refused(self) -> None:
        each_second = EachSecond(3)
        for _ in range(2):
            sleep(1 - monotonic() % 1 + 0.01)  # to the begin of a second
            assert [each_second.take() for _ in range(5)] == [True] * 3 + [False] * 2
