"""Charts: what is there is seen, in proportion, and what is not is a gap."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.infra.page.charts import LEAST, bars, steps


class TestBars:
    """The highest value is as high as the chart, and every value above nothing has a bar."""

    @given(st.lists(st.integers(min_value=0, max_value=10**9), max_size=100))
    def test_every_bar_is_inside(self, values: list[int]) -> None:
        drawn = bars(values, height=40)
        assert [bar.column for bar in drawn] == [i for i, value in enumerate(values) if value]
        for bar in drawn:
            assert bar.y >= 0
            assert bar.y + bar.height == pytest.approx(40)
            assert bar.column < bar.x < bar.x + bar.width < bar.column + 1

    def test_heights_are_in_proportion(self) -> None:
        assert [bar.height for bar in bars([5, 0, 10], height=40)] == [20, 40]

    def test_a_tiny_value_can_be_seen(self) -> None:
        assert bars([1, 10**6], height=40)[0].height == 40 * LEAST


class TestSteps:
    """A level step for each value, down to the ground where there is none."""

    def test_neighbours_are_joined_and_gaps_are_kept(self) -> None:
        drawn = steps([None, 1.0, 2.0, None, 1.0], height=40)
        assert drawn == "M1 40V20.0h1V0.0h1V40M4 40V20.0h1V40"

    @pytest.mark.parametrize("values", [[], [None, None], [0.0, None]])
    def test_of_nothing_there_is_nothing(self, values: list[float | None]) -> None:
        assert steps(values, height=40) == ""
