"""Pictures in other formats, by OpenCV, which is needed for nothing else: ``pip install remotemedia[opencv]``."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

FORMATS = ("i420", "rgb", "bgr", "nv12")


def check(format: str) -> str:
    """A format that can be had here."""
    if format not in FORMATS:
        raise ValueError(f"format {format!r} is not one of {', '.join(FORMATS)}")
    if format != "i420":
        _opencv()
    return format


def blank(format: str, planes: tuple[Bytes, Bytes, Bytes]) -> Bytes:
    """What an output is written into before it is converted back."""
    y, u, _ = planes
    shape = (*u.shape, 2) if format == "nv12" else (*y.shape, 3)
    return np.zeros(shape, np.uint8)


def out_of(format: str, planes: tuple[Bytes, Bytes, Bytes]) -> tuple[Bytes, int]:
    """A picture in another format, and the bytes that were copied for it."""
    cv2 = _opencv()
    y, u, v = planes
    if format == "nv12":
        uv: Bytes = cv2.merge((u, v))
        return uv, uv.nbytes
    rows, columns = y.shape
    packed = _pack(planes)
    image: Bytes = cv2.cvtColor(packed, cv2.COLOR_YUV2RGB_I420 if format == "rgb" else cv2.COLOR_YUV2BGR_I420)
    return image[:rows, :columns], packed.nbytes + image.nbytes


def back_into(format: str, image: Bytes, planes: tuple[Bytes, Bytes, Bytes]) -> int:
    """Writes a picture of another format into planes; the bytes that were copied for it."""
    cv2 = _opencv()
    y, u, v = planes
    if format == "nv12":
        np.copyto(u, image[:, :, 0])
        np.copyto(v, image[:, :, 1])
        return u.nbytes + v.nbytes
    rows, columns = y.shape
    if rows % 2 or columns % 2:
        image = np.pad(image, ((0, rows % 2), (0, columns % 2), (0, 0)), mode="edge")
    packed: Bytes = cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420 if format == "rgb" else cv2.COLOR_BGR2YUV_I420)
    even_rows, even_columns = image.shape[:2]
    flat, luma, chroma = packed.reshape(-1), even_rows * even_columns, even_rows * even_columns // 4
    np.copyto(y, flat[:luma].reshape(even_rows, even_columns)[:rows, :columns])
    np.copyto(u, flat[luma : luma + chroma].reshape(u.shape))
    np.copyto(v, flat[luma + chroma :].reshape(v.shape))
    return packed.nbytes + y.nbytes + u.nbytes + v.nbytes


def _pack(planes: tuple[Bytes, Bytes, Bytes]) -> Bytes:
    """The planes as OpenCV wants them: behind one another without gaps, of even size."""
    y, u, v = planes
    rows, columns = y.shape
    even_rows, even_columns = rows + rows % 2, columns + columns % 2
    flat = np.empty(even_rows * even_columns * 3 // 2, np.uint8)
    luma = flat[: even_rows * even_columns].reshape(even_rows, even_columns)
    luma[:rows, :columns] = y
    if columns % 2:
        luma[:rows, -1] = y[:, -1]
    if rows % 2:
        luma[-1] = luma[-2]
    chroma = even_rows * even_columns // 4
    flat[luma.size : luma.size + chroma] = u.reshape(-1)
    flat[luma.size + chroma :] = v.reshape(-1)
    return flat.reshape(even_rows * 3 // 2, even_columns)


def _opencv() -> Any:
    try:
        import cv2
    except ImportError:
        raise RuntimeError(
            "other formats than i420 are converted by OpenCV, which is not there: pip install remotemedia[opencv]"
        ) from None
    return cv2
