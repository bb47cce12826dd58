"""Draws a dashboard as Grafana lays it out, from what a Prometheus answers to the queries of its panels. It is no screenshot:
it knows stat, timeseries, table and heatmap, and of their settings those that our dashboard uses.

    picture.py DASHBOARD PROMETHEUS START END INTERVAL NAME PICTURE

START and END are in seconds since 1970, INTERVAL is what stands for $__rate_interval, NAME what stands for the instance."""

import io
import json
import re
import sys
import urllib.parse
import urllib.request

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.colors import LogNorm
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator
from PIL import Image

WIDTH, ROW, GAP, FOOT, DPI = 1500, 34, 8, 24, 100
PAPER, PANEL, EDGE, TEXT, FAINT = "#111217", "#181b1f", "#2c3035", "#d5d6e0", "#8e8fa0"
COLORS = {"green": "#73bf69", "red": "#f2495c", "orange": "#ff9830", "blue": "#5794f2", "yellow": "#fade2a"}
PALETTE = ["#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#37872d", "#e0b400", "#1f60c4",
           "#c4162a", "#96d98d", "#ffb357", "#ca95e5"]
POINTS = 240
LARGE = {"k": 1e3, "M": 1e6}


def main():
    dashboard, url, start, end, interval, name, picture = sys.argv[1:]
    source = Source(url, int(start), int(end), interval, name)
    with open(dashboard) as file:
        panels = json.load(file)["panels"]
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    height = rows * ROW + FOOT
    figure = plt.figure(figsize=(WIDTH / DPI, height / DPI), dpi=DPI, facecolor=PAPER)
    plt.rcParams.update({"font.family": "DejaVu Sans", "font.size": 7.5, "text.color": TEXT})
    for panel in panels:
        at = panel["gridPos"]
        x, y, w, h = at["x"] / 24 * WIDTH, at["y"] * ROW, at["w"] / 24 * WIDTH, at["h"] * ROW
        place = (x + GAP / 2, height - y - h + GAP / 2, w - GAP, h - GAP)
        if panel["type"] == "row":
            figure.text((place[0] + 4) / WIDTH, (place[1] + place[3] / 2) / height, "⌄  " + panel["title"], va="center",
                        fontsize=10, color=TEXT)
            continue
        frame = Rectangle((place[0] / WIDTH, place[1] / height), place[2] / WIDTH, place[3] / height, facecolor=PANEL,
                          edgecolor=EDGE, linewidth=0.8, transform=figure.transFigure, zorder=-1)
        figure.add_artist(frame)
        figure.text((place[0] + 8) / WIDTH, (place[1] + place[3] - 8) / height, panel["title"], va="top", fontsize=8.5,
                    fontweight="bold")
        DRAW[panel["type"]](Canvas(figure, place, height, frame), panel, source)
    figure.text(0.5, 8 / height, "drawn from what the panels' queries find; not a screenshot of Grafana", ha="center", fontsize=7.5,
                color=FAINT)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=DPI, facecolor=PAPER)
    Image.open(image).convert("RGB").quantize(96, dither=Image.Dither.NONE).save(picture, optimize=True)


class Canvas:
    """The place of one panel, in pixels from below on the left."""

    def __init__(self, figure, place, height, frame):
        self.figure, self.place, self.height, self.frame = figure, place, height, frame

    def axes(self, left, bottom, right, top):
        x, y, w, h = self.place
        box = [(x + left) / WIDTH, (y + bottom) / self.height, (w - left - right) / WIDTH, (h - bottom - top) / self.height]
        return self.figure.add_axes(box, facecolor="none")

    def text(self, x, y, text, **how):
        """At a share of the width and the height."""
        px, py, w, h = self.place
        return self.figure.text((px + x * w) / WIDTH, (py + y * h) / self.height, text, **how)


class Source:
    """What Prometheus answers."""

    def __init__(self, url, start, end, interval, name):
        self.url, self.start, self.end, self.interval, self.name = url, start, end, interval, name

    def ask(self, path, **parameters):
        query = parameters["query"].replace("$__rate_interval", self.interval)
        query = query.replace("$__range", f"{self.end - self.start}s")
        parameters["query"] = re.sub(r"\$(job|instance)\b", ".+", query)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}") as answer:
            result = json.load(answer)["data"]["result"]
        for series in result:
            if "instance" in series["metric"]:
                series["metric"]["instance"] = self.name
        return result

    def lines(self, target):
        """Each as (labels, its name in the legend, seconds since the start, values)."""
        step = max(1, (self.end - self.start) // POINTS)
        if target.get("instant"):
            found = self.ask("query", query=target["expr"], time=self.end)
            found = [{"metric": series["metric"], "values": [series["value"]]} for series in found]
        else:
            found = self.ask("query_range", query=target["expr"], start=self.start, end=self.end, step=step)
        for series in found:
            labels = series["metric"]
            legend = re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), target.get("legendFormat", ""))
            times = [time - self.start for time, _ in series["values"]]
            yield labels, legend, times, [float(value) for _, value in series["values"]]


def stat(canvas, panel, source):
    defaults = panel["fieldConfig"]["defaults"]
    [(_, _, times, values)] = list(source.lines(panel["targets"][0])) or [({}, "", [0], [float("nan")])]
    value, text = values[-1], None
    color = [step["color"] for step in defaults["thresholds"]["steps"] if step["value"] is None or value >= step["value"]][-1]
    for mapping in defaults.get("mappings", []):
        option = mapping["options"].get(f"{value:g}")
        if option:
            text, color = option["text"], option["color"]
    canvas.frame.set_facecolor(COLORS[color])
    canvas.figure.texts[-1].set_color("#101010")
    if panel["options"]["graphMode"] == "area" and len(values) > 1:
        axes = canvas.axes(0, 0, 0, canvas.place[3] * 0.55)
        axes.fill_between(times, values, color="#ffffff", alpha=0.22, linewidth=0)
        axes.plot(times, values, color="#ffffff", alpha=0.6, linewidth=1)
        axes.set_axis_off()
        axes.set_xlim(0, source.end - source.start)
        axes.set_ylim(0, max(values) * 1.05 or 1)
    canvas.text(0.5, 0.42, text or written(value, defaults["unit"], defaults.get("decimals")), ha="center", va="center",
                fontsize=19, fontweight="bold", color="#101010")


def timeseries(canvas, panel, source):
    defaults, custom = panel["fieldConfig"]["defaults"], panel["fieldConfig"]["defaults"]["custom"]
    fixed = {override["matcher"]["options"]: one["value"]["fixedColor"]
             for override in panel["fieldConfig"]["overrides"] for one in override["properties"] if one["id"] == "color"}
    lines = [line for target in panel["targets"] for line in source.lines(target)]
    axes = canvas.axes(52, 42, 12, 30)
    is_stacked = custom["stacking"]["mode"] == "normal"
    below, handles = {}, []
    for index, (_, legend, times, values) in enumerate(lines):
        color = COLORS.get(fixed.get(legend), PALETTE[index % len(PALETTE)])
        values = [0 if value != value and is_stacked else value for value in values]
        floor = [below.get(time, 0) if is_stacked else 0 for time in times]
        tops = [low + value for low, value in zip(floor, values)]
        if is_stacked:
            below.update(zip(times, tops))
        step = "steps-post" if custom.get("lineInterpolation") == "stepAfter" else "default"
        handles += axes.plot(times, tops, color=color, linewidth=1.1, label=legend, drawstyle=step)
        axes.fill_between(times, floor, tops, color=color, alpha=custom["fillOpacity"] / 100, linewidth=0,
                          step="post" if step != "default" else None)
    style(axes, source)
    axes.set_ylim(bottom=0)
    if axes.get_ylim()[1] < 1e-9 or not lines or max(max(line[3], default=0) for line in lines) == 0:
        axes.set_ylim(0, 1)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=defaults["unit"] == "short"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: written(value, defaults["unit"])))
    fit_legend(canvas, handles)


def fit_legend(canvas, handles):
    """Along the bottom, as much as there is room for."""
    if not handles:
        return
    x, _, w, _ = canvas.place
    room, shown = w - 30, []
    for handle in handles:
        room -= 5.4 * len(handle.get_label()) + 30
        if room < 0:
            break
        shown.append(handle)
    box = canvas.axes(8, 4, 8, canvas.place[3] - 22)
    box.set_axis_off()
    box.legend(handles=shown, loc="center left", ncols=len(shown), frameon=False, fontsize=7, labelcolor=TEXT,
               handlelength=1.2, columnspacing=1.2, handletextpad=0.4, borderpad=0)


def table(canvas, panel, source):
    renamed = {old: new for change in panel["transformations"] if change["id"] == "organize"
               for old, new in change["options"]["renameByName"].items()}
    rows = {}
    for target in panel["targets"]:
        for labels, _, _, values in source.lines(target):
            key = (labels["instance"], labels["directory"])
            rows.setdefault(key, {})[renamed[f"Value #{target['refId']}"]] = values[-1]
    heads = [renamed.get("instance", "instance"), renamed.get("directory", "directory"), "Up", "Age", "Recipients"]
    units = {"Age": "s"}
    lefts = [0.02, 0.34, 0.58, 0.72, 0.86]
    for x, head in zip(lefts, heads):
        canvas.text(x, 0.8, head, color=COLORS["blue"], fontsize=7.5)
    for number, (key, values) in enumerate(sorted(rows.items())):
        y = 0.68 - number * 0.115
        cells = [*key, *(values.get(head) for head in heads[2:])]
        for x, head, cell in zip(lefts, heads, cells):
            color, text = TEXT, cell
            if head == "Up":
                text, color = ("up", COLORS["green"]) if cell == 1 else ("down", COLORS["red"])
            elif not isinstance(cell, str):
                text = "" if cell is None else written(cell, units.get(head, "short"))
            canvas.text(x, y, text, color=color, fontsize=8)


def heatmap(canvas, panel, source):
    """Buckets are cumulative: what is between two bounds is the difference."""
    [target] = panel["targets"]
    lines = sorted(((float(labels["le"].replace("+Inf", "inf")), times, values)
                    for labels, _, times, values in source.lines(target)), key=lambda line: line[0])
    times = sorted({time for _, some, _ in lines for time in some})
    below, cells = {}, []
    for _, some, values in lines:
        here = dict(zip(some, values))
        cells.append([here.get(time, 0) - below.get(time, 0) for time in times])
        below = {time: here.get(time, 0) for time in times}
    cells = [[cell if cell > 0.5 else float("nan") for cell in row] for row in cells]
    axes = canvas.axes(58, 42, 12, 30)
    most = max((cell for row in cells for cell in row if cell == cell), default=1)
    mesh = axes.pcolormesh([*times, times[-1] + times[1] - times[0]], range(len(lines) + 1), cells, cmap="YlOrRd_r",
                           norm=LogNorm(1, max(most, 2)), linewidth=0)
    style(axes, source)
    axes.set_ylim(0, len(lines))
    axes.set_yticks([index + 1 for index in range(len(lines))],
                    [written(bound, "s") if bound != float("inf") else "+Inf" for bound, _, _ in lines])
    bar = canvas.figure.colorbar(mesh, cax=canvas.axes(58, 14, canvas.place[2] - 260, canvas.place[3] - 20),
                                 orientation="horizontal", format=FuncFormatter(lambda value, _: written(value, "short")))
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=6.5, colors=FAINT, length=0, pad=1)
    canvas.text(0.36, 0.045, "recipients", fontsize=7, color=FAINT)


def style(axes, source):
    axes.grid(True, color="#2a2d33", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlim(0, source.end - source.start)
    axes.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 3, 6], integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{int(value) // 60}:{int(value) % 60:02}"))
    axes.tick_params(colors=FAINT, length=0, labelsize=7)
    for spine in axes.spines.values():
        spine.set_visible(False)


def written(value, unit, decimals=None):
    """A number as Grafana writes it, about."""
    if value != value:
        return "No data"
    if unit == "s":
        for bound, factor, name in [(1e-3, 1e6, "µs"), (1, 1e3, "ms"), (120, 1, "s"), (7200, 1 / 60, "min")]:
            if value < bound:
                return f"{value * factor:.3g} {name}" if value else "0 s"
        return f"{value / 3600:.3g} h"
    end = " req/s" if unit == "reqps" else ""
    if decimals is not None:
        return f"{value:.{decimals}f}{end}"
    for name, size in sorted(LARGE.items(), key=lambda item: -item[1]):
        if value >= size:
            return f"{value / size:.3g} {name}{end}"
    return f"{value:.3g}{end}"


DRAW = {"stat": stat, "timeseries": timeseries, "table": table, "heatmap": heatmap}
main()
