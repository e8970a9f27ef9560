"""Surfaces of labels: what a surface element is, how large it is, and how far it lies from the other surface.

Theory of operation
-------------------
A surface lives on the lattice of voxel *corners*. Around every corner lie
eight voxels (four in 2-D). One bit each says which of them carry the label. That **neighbour code** is 0 outside the
label, all ones inside it. Every other code marks a surface element at that corner. Outside the image is background,
so a label that touches the border is closed there.

An element's area is that of the triangles marching cubes draws for its code, scaled by the voxel size: mm² in 3-D. In
2-D it is a length in mm. An element's distance is the Euclidean distance from its corner to the nearest corner that
carries an element of the other surface.

Definition, bit order and facets follow google-deepmind/surface-distance (Nikolov et al. 2021. Copyright 2018 Google
Inc., Apache-2.0), which FLARE, SegRap and BraTS use too. The facet table below is a re-encoding of its lookup table.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

# Facets of marching cubes as absolute normals in eighths of a voxel face: sign and order never change an area.
_FACETS = (
    (0, 0, 0),
    (0, 0, 4),
    (0, 2, 2),
    (0, 4, 0),
    (1, 1, 1),
    (2, 0, 2),
    (2, 2, 0),
    (2, 2, 2),
    (3, 3, 3),
    (4, 0, 0),
)
# For codes 0 to 127 the facets drawn; code 255 - c draws the same ones as c. One text: 128 quoted ones would hide it.
_FACETS_OF_CODE = str.split("""
    0 4 4 66 4 55 44 974 4 44 55 974 66 974 974 99 4 22 44 374 44 174 444 4774 44 224 554 4825 466 8246
    9474 947 4 44 22 347 44 455 224 8245 44 444 174 7744 466 9744 2846 974 66 374 347 33 664 8546 4374
    374 466 3744 8645 374 6666 664 466 66 4 44 44 466 22 174 224 8246 44 444 455 9744 374 7744 5824 974
    55 174 455 5864 174 11 4471 471 554 1744 5555 455 5864 174 455 55 44 444 422 3474 224 1744 2222 224
    444 4444 1744 444 3744 444 224 44 974 7474 8245 374 8624 471 422 22 9744 444 554 44 664 44 44 4
""")


@dataclass(frozen=True)
class DirectedDistances:
    """Every element of one surface with its distance to the other surface. Infinite where the other surface is empty.

    The order of the elements carries no meaning. Areas are kept as codes (one byte each) into `area_of_code`.
    """

    distances_mm: NDArray[np.float64]
    codes: NDArray[np.uint8]
    area_of_code: NDArray[np.float64]

    @cached_property
    def areas(self) -> NDArray[np.float64]:
        """Area of every element in mm² (3-D) or length in mm (2-D)."""
        return self.area_of_code[self.codes]

    @property
    def is_empty(self) -> bool:
        return self.distances_mm.size == 0


@dataclass(frozen=True)
class SurfaceDistances:
    """Both directions between the surfaces of a reference and a prediction."""

    reference_to_prediction: DirectedDistances
    prediction_to_reference: DirectedDistances


@lru_cache(maxsize=64)
def element_areas(spacing_mm: tuple[float, ...]) -> NDArray[np.float64]:
    """Area of a surface element for each of the 256 neighbour codes (16 in 2-D), read-only.

    In the code the voxel with the lowest index along every axis is the highest bit, and the last axis varies fastest.
    """
    areas = _contour_lengths(*spacing_mm) if len(spacing_mm) == 2 else _facet_areas(*spacing_mm)
    areas.setflags(write=False)
    return areas


def _facet_areas(first_mm: float, second_mm: float, third_mm: float) -> NDArray[np.float64]:
    area_of_facet = []
    for eighths in _FACETS:
        normal = np.array(eighths) / 8
        # Multiplied and normed exactly as the reference implementation does: equal to the last bit.
        normal[0] = normal[0] * second_mm * third_mm
        normal[1] = normal[1] * first_mm * third_mm
        normal[2] = normal[2] * first_mm * second_mm
        area_of_facet.append(float(np.linalg.norm(normal)))
    half = [sum((area_of_facet[int(facet)] for facet in facets), 0.0) for facets in _FACETS_OF_CODE]
    return np.array(half + half[::-1])


def _contour_lengths(first_mm: float, second_mm: float) -> NDArray[np.float64]:
    diagonal = 0.5 * float(np.sqrt(first_mm**2 + second_mm**2))
    by_code = {0b0011: second_mm, 0b1100: second_mm, 0b0101: first_mm, 0b1010: first_mm}
    by_code |= {0b0110: 2 * diagonal, 0b1001: 2 * diagonal, 0b0000: 0.0, 0b1111: 0.0}
    return np.array([by_code.get(code, diagonal) for code in range(16)])
