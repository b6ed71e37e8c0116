"""Lay pictures out in rows and columns, with labels, captions and a title."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

GAP = 4
FONT_SIZE = 13
LINE = FONT_SIZE + 3


def image_grid(
    rows: Sequence[Sequence[Image.Image]],
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
    scale: int = 1,
    captions: Sequence[Sequence[str]] | None = None,
    title: str | None = None,
) -> Image.Image:
    """Paste pictures into a white sheet; each column is as wide as its widest picture, each row as high as its highest.

    Example:
        >>> from PIL import Image
        >>> from image_utils.grid import image_grid
        >>> sheet = image_grid([[Image.new("RGB", (64, 48), colour) for colour in ("red", "blue")]], scale=2, title="two colours")
        >>> sheet.size
        (268, 124)

    Args:
        rows: pictures row by row; a short row leaves its last cells white.
        row_labels: one text a row, written left of it.
        column_labels: one text a column, written above it.
        scale: whole factor by which every picture is enlarged.
        captions: one text a picture, written under it, broken into lines as wide as the column.
        title: written over the sheet.

    Raises:
        ValueError: if there is no picture, or the texts do not match the rows, columns or pictures.
    """
    num_columns = max((len(row) for row in rows), default=0)
    if num_columns == 0:
        raise ValueError("rows holds no picture; give at least one")
    _check_labels("row", row_labels, len(rows))
    _check_labels("column", column_labels, num_columns)
    if captions is not None and [len(row) for row in captions] != [len(row) for row in rows]:
        raise ValueError(
            f"captions for rows of {[len(row) for row in captions]} pictures, not {[len(row) for row in rows]}; give one a picture"
        )
    cells = [[_enlarged(cell, scale) for cell in row] for row in rows]
    font = ImageFont.load_default(size=FONT_SIZE)
    widths = [max(row[column].width for row in cells if column < len(row)) for column in range(num_columns)]
    if column_labels:
        widths = [max(width, _text_width(label, font)) for width, label in zip(widths, column_labels, strict=True)]
    heights = [max((cell.height for cell in row), default=0) for row in cells]
    texts = [[_wrapped(text, width, font) for text, width in zip(row, widths, strict=False)] for row in captions or [()] * len(rows)]
    text_heights = [LINE * max((text.count("\n") + 1 for text in row if text), default=0) for row in texts]
    left = max(_text_width(label, font) for label in row_labels) + 2 * GAP if row_labels else GAP
    headline = _wrapped(title or "", max(1, sum(widths) + GAP * (num_columns - 1)), font)
    above = LINE * (headline.count("\n") + 1) + GAP if title else 0
    top = above + (FONT_SIZE + 2 * GAP if column_labels else GAP)
    height = top + sum(heights) + sum(text_heights) + GAP * len(cells)
    sheet = Image.new("RGB", (left + sum(widths) + GAP * num_columns, height), "white")
    pen = ImageDraw.Draw(sheet)
    xs = [left + sum(widths[:column]) + GAP * column for column in range(num_columns)]
    _write(pen, headline, left, GAP, font)
    for column, label in enumerate(column_labels or ()):
        pen.text((xs[column] + widths[column] // 2, (above + top) // 2), label, fill="black", font=font, anchor="mm")
    y = top
    for index, row in enumerate(cells):
        if row_labels:
            pen.text((GAP, y + heights[index] // 2), row_labels[index], fill="black", font=font, anchor="lm")
        for x, width, cell in zip(xs, widths, row, strict=False):
            sheet.paste(cell, (x + (width - cell.width) // 2, y))
        for x, text in zip(xs, texts[index], strict=False):
            _write(pen, text, x, y + heights[index] + 1, font)
        y += heights[index] + text_heights[index] + GAP
    return sheet


def _write(pen: ImageDraw.ImageDraw, text: str, x: int, y: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> None:
    for index, line in enumerate(text.split("\n")):
        pen.text((x, y + index * LINE), line, fill="black", font=font)


def _wrapped(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Break a text into lines that fit: between words where it can be, inside a word where it must be."""
    lines = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split():
            if line and _text_width(f"{line} {word}", font) > width:
                lines.append(line)
                line = ""
            line = f"{line} {word}".strip()
            while _text_width(line, font) > width and len(line) > 1:
                fitting = next((end for end in range(len(line) - 1, 1, -1) if _text_width(line[:end], font) <= width), 1)
                lines.append(line[:fitting])
                line = line[fitting:]
        lines.append(line)
    return "\n".join(lines)


def _enlarged(image: Image.Image, scale: int) -> Image.Image:
    return image.convert("RGB").resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)


def _check_labels(kind: str, labels: Sequence[str] | None, count: int) -> None:
    if labels is not None and len(labels) != count:
        raise ValueError(f"{len(labels)} {kind} labels for {count} {kind}s; give one a {kind}")


def _text_width(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> int:
    return int(font.getlength(text)) + 1
