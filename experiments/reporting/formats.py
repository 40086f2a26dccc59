"""Numbers as text, the same in every table, figure and page."""

from collections.abc import Sequence

from experiments.reporting.statistics import Estimate

MISSING = "–"
MINUS = "−"


def number(value: float | None, digits: int = 2, sign: bool = False) -> str:
    """Return a rounded number with a true minus sign; a rounded zero has no sign."""
    if value is None:
        return MISSING
    text = f"{abs(value):.{digits}f}"
    if not text.strip("0."):
        return text
    return (MINUS if value < 0 else "+" if sign else "") + text


def plus_minus(estimate: Estimate | None, expected_n: int, digits: int = 2) -> str:
    """Return "27.31 ± 0.25"; one seed has no interval, and an n other than the row's is printed."""
    if estimate is None:
        return MISSING
    half = estimate.half_width
    text = number(estimate.mean, digits) + (f" ± {number(half, digits)}" if half is not None else "")
    return text if estimate.n == expected_n else f"{text} (n={estimate.n})"


def perplexity(estimate: Estimate | None, expected_n: int) -> str:
    """Return a perplexity with its interval, with more digits the closer it is to one."""
    if estimate is None:
        return MISSING
    return plus_minus(estimate, expected_n, 3 if estimate.mean < 10 else 2 if estimate.mean < 1000 else 0)


def bracketed(estimate: Estimate | None) -> str:
    """Return "−52.30 [−54.50, −50.10]"; one seed has no interval."""
    if estimate is None:
        return MISSING
    mean = number(estimate.mean, sign=True)
    return mean if estimate.low is None else f"{mean} {interval(estimate)}"


def interval(estimate: Estimate | None) -> str:
    """Return "[−54.50, −50.10]"."""
    if estimate is None or estimate.low is None:
        return MISSING
    return f"[{number(estimate.low, sign=True)}, {number(estimate.high, sign=True)}]"


def speed(value: float | None) -> str:
    """Return target tokens per second: "8,973"."""
    return MISSING if value is None else f"{value:,.0f}"


def millions(value: float | None) -> str:
    """Return a number of parameters in millions: "65.01 M"."""
    return MISSING if value is None else f"{value / 1e6:.2f} M"


def power_of_ten(value: float | None) -> str:
    """Return a large number such as FLOPs with two digits: "3.3e18"."""
    return MISSING if value is None else f"{value:.1e}".replace("e+", "e")


def p_value(value: float | None) -> str:
    """Return a p-value with three digits."""
    if value is None:
        return MISSING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def plural(number: int, noun: str) -> str:
    """Return a number with its noun: "1 cell", "2 cells"."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def percent(share: float) -> str:
    """Return a share as a percentage: "40 %"."""
    return f"{100 * share:.3g} %"


def listing(items: Sequence[object]) -> str:
    """Return items as English lists them: "3, 5 and 8"."""
    *most, last = (str(item) for item in items)
    return f"{', '.join(most)} and {last}" if most else last


def duration(seconds: float) -> str:
    """Return a time span in the two units that matter."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
