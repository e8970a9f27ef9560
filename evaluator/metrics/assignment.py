"""The assignment of rows to columns with the largest sum (Kuhn 1955, in the form of Jonker and Volgenant 1987)."""

import numpy as np

from evaluator.arrays import Floats


def best_assignment(worth: Floats) -> list[int]:
    """The column of each row, -1 for a row that has none: of the smaller side everybody has a partner, and the sum is the largest."""
    rows, columns = worth.shape
    if rows > columns:
        row_of = best_assignment(worth.T)
        partner = [-1] * rows
        for column, row in enumerate(row_of):
            partner[row] = column
        return partner
    return _assign(-worth)


def _assign(cost: Floats) -> list[int]:
    """The cheapest way, for no more rows than columns: one shortest augmenting path per row, with prices for columns."""
    rows, columns = cost.shape
    price_of_row, price = np.zeros(rows + 1), np.zeros(columns + 1)
    owner = np.zeros(columns + 1, np.intp)  # of each column, counted from 1; 0 is nobody
    for row in range(1, rows + 1):
        owner[0] = row
        column = 0
        shortest = np.full(columns + 1, np.inf)
        came_from = np.zeros(columns + 1, np.intp)
        is_done = np.zeros(columns + 1, np.bool_)
        while owner[column]:
            is_done[column] = True
            at = owner[column]
            reached = cost[at - 1] - price_of_row[at] - price[1:]
            better = ~is_done[1:] & (reached < shortest[1:])
            shortest[1:][better] = reached[better]
            came_from[1:][better] = column
            following = int(np.where(is_done, np.inf, shortest)[1:].argmin()) + 1
            step = shortest[following]
            price_of_row[owner[is_done]] += step
            price[is_done] -= step
            shortest[~is_done] -= step
            column = following
        while column:
            before = came_from[column]
            owner[column] = owner[before]
            column = int(before)
    partner = [-1] * rows
    for column in range(1, columns + 1):
        if owner[column]:
            partner[owner[column] - 1] = column - 1
    return partner
