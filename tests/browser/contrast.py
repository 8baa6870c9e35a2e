"""How well a text can be told from what lies behind it, as WCAG 2 measures it."""

from __future__ import annotations

from typing import Final

from playwright.sync_api import Locator

LEAST: Final = 4.5
"""The contrast that WCAG asks of text of usual size."""

FAINT = """(panel, least) => {
    const pixel = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    const parts = colour => {
        pixel.clearRect(0, 0, 1, 1);
        pixel.fillStyle = colour;
        pixel.fillRect(0, 0, 1, 1);
        const [r, g, b, a] = pixel.getImageData(0, 0, 1, 1).data;
        return [r, g, b, a / 255];
    };
    const over = (top, below) =>
        below.map((part, at) => top[at] * top[3] + part * (1 - top[3]));
    const luminance = colour => {
        const [r, g, b] = colour.map(part => part / 255).map(
            part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ancestors = part => part ? [...ancestors(part.parentElement), part] : [];
    const contrast = part => {
        const styles = ancestors(part).map(above => getComputedStyle(above));
        const behind = styles.reduce(
            (below, style) => over(parts(style.backgroundColor), below), [255, 255, 255]);
        const ink = parts(styles.at(-1).color);
        ink[3] *= styles.reduce((product, style) => product * style.opacity, 1);
        const [a, b] = [luminance(over(ink, behind)), luminance(behind)];
        return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    };
    const written = [...panel.querySelectorAll('*')].filter(part =>
        part.matches('input[type=text], select') ||
        [...part.childNodes].some(node => node.nodeType === 3 && node.textContent.trim()));
    return written
        .filter(part => part.getBoundingClientRect().width > 1)
        .filter(part => !part.closest('.nbt-hidden, option, [aria-disabled=true], :disabled'))
        .filter(part => contrast(part) < least)
        .map(part => `${part.textContent || part.value}: ${contrast(part).toFixed(2)}`);
}"""


def faint(place: Locator) -> list[str]:
    """The texts of what can be used that have too little contrast, each with what it has."""
    found: list[str] = place.evaluate(FAINT, LEAST)
    return found
