# Throws dice and compares what came with what is expected. (Shiny Express shows a docstring on the page.)

import random
from collections import Counter

from shiny import reactive
from shiny.express import input, render, ui

ui.page_opts(title="Dice")

with ui.sidebar():
    ui.input_slider("dice", "Dice", 1, 5, 2)
    ui.input_action_button("throw", "Throw 100 times", class_="btn-primary")
    ui.input_action_button("again", "Begin anew")

sums = reactive.value(())


@reactive.effect
@reactive.event(input.throw)
def _():
    dice = input.dice()
    sums.set(sums() + tuple(sum(random.randint(1, 6) for _ in range(dice)) for _ in range(100)))


@reactive.effect
@reactive.event(input.again, input.dice)
def _():
    sums.set(())


with ui.layout_columns():
    with ui.value_box():
        "Thrown"

        @render.text
        def thrown():
            return f"{len(sums())} times"

    with ui.value_box():
        "Mean"

        @render.text
        def mean():
            return f"{sum(sums()) / len(sums()):.2f}" if sums() else "nothing yet"

    with ui.value_box():
        "Expected"

        @render.text
        def expected():
            return f"{3.5 * input.dice():.2f}"


with ui.card():
    ui.card_header("Sums")

    @render.ui
    def bars():
        counts = Counter(sums())
        most = max(counts.values(), default=1)
        return [
            ui.div(
                ui.span(str(total), style="width: 2rem; text-align: right"),
                ui.div(style=f"background: #3b6ea5; height: 1rem; width: {80 * counts[total] / most}%"),
                ui.span(str(counts[total]) if counts[total] else ""),
                style="display: flex; gap: .6rem; align-items: center",
            )
            for total in range(input.dice(), 6 * input.dice() + 1)
        ]
