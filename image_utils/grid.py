"""Lay pictures out in rows and columns, with labels."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

GAP = 4
FONT_SIZE = 13


def image_grid(
    rows: Sequence[Sequence[Image.Image]],
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
    scale: int = 1,
) -> Image.Image:
    """Paste pictures into a white sheet; each column is as wide as its widest picture, each row as high as its highest.

    Args:
        rows: pictures row by row; a short row leaves its last cells white.
        row_labels: one text a row, written left of it.
        column_labels: one text a column, written above it.
        scale: whole factor by which every picture is enlarged.

    Raises:
        ValueError: if there is no picture, or the labels do not match the rows or columns.
    """
    num_columns = max((len(row) for row in rows), default=0)
    if num_columns == 0:
        raise ValueError("rows holds no picture; give at least one")
    _check_labels("row", row_labels, len(rows))
    _check_labels("column", column_labels, num_columns)
    cells = [[_enlarged(cell, scale) for cell in row] for row in rows]
    font = ImageFont.load_default(size=FONT_SIZE)
    widths = [max(row[column].width for row in cells if column < len(row)) for column in range(num_columns)]
    if column_labels:
        widths = [max(width, _text_width(label, font)) for width, label in zip(widths, column_labels, strict=True)]
    heights = [max((cell.height for cell in row), default=0) for row in cells]
    left = max(_text_width(label, font) for label in row_labels) + 2 * GAP if row_labels else GAP
    top = FONT_SIZE + 2 * GAP if column_labels else GAP
    sheet = Image.new("RGB", (left + sum(widths) + GAP * num_columns, top + sum(heights) + GAP * len(cells)), "white")
    pen = ImageDraw.Draw(sheet)
    xs = [left + sum(widths[:column]) + GAP * column for column in range(num_columns)]
    for column, label in enumerate(column_labels or ()):
        pen.text((xs[column] + widths[column] // 2, top // 2), label, fill="black", font=font, anchor="mm")
    y = top
    for index, row in enumerate(cells):
        if row_labels:
            pen.text((GAP, y + heights[index] // 2), row_labels[index], fill="black", font=font, anchor="lm")
        for x, width, cell in zip(xs, widths, row, strict=False):
            sheet.paste(cell, (x + (width - cell.width) // 2, y))
        y += heights[index] + GAP
    return sheet


def _enlarged(image: Image.Image, scale: int) -> Image.Image:
    return image.convert("RGB").resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)


def _check_labels(kind: str, labels: Sequence[str] | None, count: int) -> None:
    if labels is not None and len(labels) != count:
        raise ValueError(f"{len(labels)} {kind} labels for {count} {kind}s; give one a {kind}")


def _text_width(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> int:
    return int(font.getlength(text)) + 1
