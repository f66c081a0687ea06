"""Compares two ways to pay back a loan: the rate, the time it takes, and the interest in the end."""

import panel as pn
from bokeh.plotting import figure

pn.extension(sizing_mode="stretch_width")

amount = pn.widgets.IntSlider(name="Loan", start=10_000, end=500_000, step=10_000, value=200_000, format="0,0")
interest = pn.widgets.FloatSlider(name="Interest per year, in percent", start=0.5, end=8, step=0.25, value=3.5)
payment = pn.widgets.IntSlider(name="Monthly payment", start=500, end=5_000, step=100, value=1_200, format="0,0")
extra = pn.widgets.Button(name="Pay 300 more", button_type="primary")


def pay(amount, interest, payment):
    """Returns what is left after each month, or nothing if the payment does not even cover the interest."""
    left = [float(amount)]
    while left[-1] > 0 and len(left) <= 100 * 12:
        left.append(left[-1] * (1 + interest / 1200) - payment)
        if left[-1] >= left[-2]:
            return []
    return [max(0.0, value) for value in left]


def pay_more(_event):
    """Raises the payment."""
    payment.value = min(payment.end, payment.value + 300)


def shown(amount, interest, payment):
    """Returns a sentence and a curve."""
    left = pay(amount, interest, payment)
    if not left:
        return pn.pane.Alert("The payment does not even cover the interest.", alert_type="danger")
    months = len(left) - 1
    cost = sum(left[:-1]) * interest / 1200
    plot = figure(height=300, x_axis_label="years", y_axis_label="still to pay", toolbar_location=None)
    plot.varea(x=[month / 12 for month in range(len(left))], y1=0, y2=left, color="#3b6ea5", alpha=0.7)
    plot.yaxis.formatter.use_scientific = False
    text = f"Paid back in {months // 12} years and {months % 12} months, with {cost:,.0f} of interest."
    return pn.Column(pn.pane.Markdown(f"### {text}"), pn.pane.Bokeh(plot))


extra.on_click(pay_more)
pn.template.FastListTemplate(
    title="Paying back a loan",
    sidebar=[amount, interest, payment, extra],
    main=[pn.bind(shown, amount, interest, payment)],
    accent="#3b6ea5",
).servable()
