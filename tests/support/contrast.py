"""Contrast as WCAG 2 computes it, of what a browser's page shows."""

from __future__ import annotations

from typing import NamedTuple

from support.browser import Browser

TEXT, PART = 4.5, 3.0
"""What level AA demands of text (1.4.3) and of the parts of controls and pictures (1.4.11)."""

# Every text that is seen, with what is behind it; placeholders; and the borders of controls.
SHOWN = """(() => {
  const found = {};
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const colour = getComputedStyle(element).backgroundColor;
      if (!colour.endsWith(', 0)')) return colour;
    }
  };
  const note = (least, what, element, front, back) => {
    const where = element.id || element.textContent.slice(0, 30) || element.tagName;
    found[`${least} ${front} ${back}`] ??= [least, front, back, `${what}: ${where}`];
  };
  for (const element of document.querySelectorAll('body *')) {
    if (!element.checkVisibility() || element.matches('script')) continue;
    const style = getComputedStyle(element), back = behind(element);
    const text = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (text || element.value) note(TEXT, 'text', element, style.color, back);
    if (element.placeholder) {
      note(TEXT, 'placeholder', element, getComputedStyle(element, '::placeholder').color, back);
    }
    const border = style.borderTopColor;
    if (element.matches('button, .button, input, select') && !border.endsWith(', 0)')) {
      note(PART, 'border', element, border, behind(element.parentElement));
    }
  }
  return Object.values(found);
})()""".replace("TEXT", str(TEXT)).replace("PART", str(PART))


class Pair(NamedTuple):
    """A colour in front of another one, and how much contrast there must be."""

    least: float
    front: str
    back: str
    what: str


def shown(page: Browser) -> list[Pair]:
    """Return the pairs of colours that a page shows now."""
    return [Pair(*pair) for pair in page.run(SHOWN)]


def too_little(pairs: list[Pair]) -> list[tuple[float, Pair]]:
    """Return the pairs with too little contrast, and how much each has."""
    measured = [(round(contrast(pair.front, pair.back), 2), pair) for pair in pairs]
    return [(found, pair) for found, pair in measured if found < pair.least]


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, ``#rrggbb`` or ``rgb(r, g, b)``."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    parts = [part / 255 for part in _octets(colour)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _octets(colour: str) -> list[int]:
    if colour.startswith("#"):
        return list(bytes.fromhex(colour[1:]))
    assert colour.startswith("rgb("), f"{colour} lets something shine through"
    return [int(part) for part in colour[4:-1].split(",")]
