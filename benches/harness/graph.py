"""Graphs without a library: one line in text, one picture in SVG."""

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 720, 260, 70, 40, 20
BARS = "▁▂▃▄▅▆▇█"


def spark(values, width=40):
    """A line of bars from nothing to the largest value."""
    if not values:
        return ""
    step = max(1, len(values) // width)
    most = max(values) or 1
    return "".join(BARS[min(7, int(7 * value / most))] for value in values[::step])


def svg(x_name, points, y_name):
    """A line over `points`, its y axis beginning at nothing, so that flat looks flat."""
    most_x = max((x for x, _ in points), default=1) or 1
    most_y = 1.1 * max((y for _, y in points), default=1) or 1
    right, low = WIDTH - 20, HEIGHT - BOTTOM

    def place(x, y):
        return f"{LEFT + (right - LEFT) * x / most_x:.1f},{low - (low - TOP) * y / most_y:.1f}"

    line = " ".join(place(x, y) for x, y in points)
    labels = "".join(
        f'<text x="{LEFT - 8}" y="{low - (low - TOP) * share + 4:.0f}" text-anchor="end">{most_y * share:,.0f}</text>'
        for share in (0, 0.5, 1)
    ) + "".join(
        f'<text x="{LEFT + (right - LEFT) * share:.0f}" y="{low + 16}" text-anchor="middle">{most_x * share:,.0f}</text>'
        for share in (0, 0.5, 1)
    )
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">
<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>
<path d="M{LEFT} {TOP}V{low}H{right}" fill="none" stroke="#888"/>
{labels}
<text x="{(LEFT + right) / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle">{x_name}</text>
<text x="14" y="{(TOP + low) / 2:.0f}" text-anchor="middle" transform="rotate(-90 14 {(TOP + low) / 2:.0f})">{y_name}</text>
<polyline points="{line}" fill="none" stroke="#0a58ca" stroke-width="1.5"/>
</svg>
"""
