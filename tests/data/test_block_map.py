"""Test rows reach functions in blocks of one shape, and answers come back row by row."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from certified_ensembles._data.block_map import map_blocks, padded_blocks
from certified_ensembles._data.blocks import BLOCK_ROWS
from certified_ensembles._data.containers import as_table
from certified_ensembles._data.views import view_of

TABLE = np.arange(1200.0).reshape(600, 2)


@pytest.mark.parametrize("n", [1, BLOCK_ROWS - 1, BLOCK_ROWS, BLOCK_ROWS + 1, 600])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_function_sees_one_shape_and_answers_for_the_rows_alone(n, n_jobs):
    shapes = []

    def double(block):
        shapes.append(block.shape)
        return 2 * block

    answers = list(map_blocks(double, TABLE[:n], n_jobs=n_jobs))
    assert set(shapes) == {(BLOCK_ROWS, 2)}
    np.testing.assert_array_equal(np.concatenate(answers), 2 * TABLE[:n])


@pytest.mark.parametrize("container", [sp.csr_matrix, pd.DataFrame, list])
def test_rows_of_any_container_are_handed_out_as_the_view_has_them(container):
    view, table = view_of(as_table(TABLE)), as_table(container(TABLE))
    rows = map_blocks(lambda block: block[:, 0], table, view, n_jobs=1)
    np.testing.assert_array_equal(np.concatenate(list(rows)), TABLE[:, 0])


def test_what_comes_then_sees_no_row_that_only_fills_up_a_block():
    lengths = []

    def then(answers, rows):
        assert rows.stop - rows.start == len(answers[0])
        lengths.append([len(answer) for answer in answers])
        return answers

    blocks = map_blocks(lambda b: (b[:, 0], b[:, 1]), TABLE[:300], n_jobs=1, then=then)
    first, second = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    assert lengths == [[BLOCK_ROWS] * 2, [300 - BLOCK_ROWS] * 2]
    np.testing.assert_array_equal(np.column_stack([first, second]), TABLE[:300])


def test_a_function_with_many_numbers_a_row_gets_smaller_blocks():
    shapes = []
    list(map_blocks(lambda b: shapes.append(len(b)) or b, TABLE, n_jobs=1, n_columns=1 << 19))
    assert set(shapes) == {32}


def test_a_span_of_rows_is_filled_up_with_copies_of_its_own_last_row():
    (block,) = padded_blocks(as_table(TABLE), 100, 110)
    block = block.dense
    np.testing.assert_array_equal(block[:10], TABLE[100:110])
    np.testing.assert_array_equal(block[10:], np.tile(TABLE[109], (BLOCK_ROWS - 10, 1)))
