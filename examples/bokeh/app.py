"""Adds two waves and shows the beat: sliders change the data on the server, and only the difference goes to the browser."""

import numpy as np
from bokeh.io import curdoc
from bokeh.layouts import column, row
from bokeh.models import Button, ColumnDataSource, Div, Slider
from bokeh.plotting import figure

TIME = np.linspace(0, 2, 1500)

source = ColumnDataSource({"x": TIME, "sum": TIME, "envelope": TIME})
plot = figure(height=340, sizing_mode="stretch_width", y_range=(-2.2, 2.2), x_axis_label="seconds", toolbar_location=None)
plot.line("x", "sum", source=source, color="#3b6ea5", legend_label="sum")
plot.line("x", "envelope", source=source, color="#e0a458", line_width=3, legend_label="beat")

first = Slider(start=5, end=30, value=20, step=0.5, title="First wave, in hertz")
second = Slider(start=5, end=30, value=22, step=0.5, title="Second wave, in hertz")
unison = Button(label="In unison", button_type="primary")
told = Div(styles={"font-size": "1.1rem"})


def update():
    """Computes the curves and says how often the beat comes."""
    waves = [np.sin(2 * np.pi * slider.value * TIME) for slider in (first, second)]
    difference = abs(first.value - second.value)
    source.data = {"x": TIME, "sum": sum(waves), "envelope": 2 * np.abs(np.cos(np.pi * difference * TIME))}
    told.text = f"{difference:g} beats a second" if difference else "No beat: the waves are one"


def make_equal():
    """Tunes the second wave to the first."""
    second.value = first.value


for slider in (first, second):
    slider.on_change("value", lambda attr, old, new: update())
unison.on_click(make_equal)
update()

title = Div(text="<h1>Beat of two waves</h1>")
curdoc().add_root(column(title, row(first, second, unison), told, plot, sizing_mode="stretch_width"))
curdoc().title = "Beat of two waves"
