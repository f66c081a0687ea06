"""Shows how savings grow: what is paid in, and what the interest adds, year by year."""

import plotly.graph_objects as go
from dash import Dash, Input, Output, dcc, html

app = Dash(__name__, title="Savings plan")

app.layout = html.Main(
    [
        html.H1("Savings plan"),
        html.P("What a monthly saving becomes, and how much of it is interest."),
        html.Label("Monthly saving", htmlFor="monthly"),
        dcc.Slider(50, 1000, 50, value=200, id="monthly", marks={50: "50", 500: "500", 1000: "1000"}),
        html.Label("Interest per year, in percent", htmlFor="rate"),
        dcc.Slider(0, 8, 0.5, value=3, id="rate", marks={0: "0", 4: "4", 8: "8"}),
        html.Label("Years"),
        dcc.RadioItems([10, 20, 30], 20, id="years", inline=True, inputStyle={"margin": "0 .4em 0 1em"}),
        html.P(id="result", className="result"),
        dcc.Graph(id="growth", config={"displayModeBar": False}),
    ]
)


def growth(monthly, rate, years):
    """Returns what was paid in and the balance at the end of each year."""
    balance, paid = 0.0, 0
    for _ in range(years):
        for _ in range(12):
            balance = balance * (1 + rate / 1200) + monthly
            paid += monthly
        yield paid, balance


@app.callback(
    Output("result", "children"),
    Output("growth", "figure"),
    Input("monthly", "value"),
    Input("rate", "value"),
    Input("years", "value"),
)
def update(monthly, rate, years):
    """Computes the plan anew: each answer comes from its inputs alone, so any process can give it."""
    plan = list(growth(monthly, rate, years))
    paid, balance = plan[-1]
    axis = list(range(1, years + 1))
    figure = go.Figure(
        [
            go.Bar(name="Paid in", x=axis, y=[paid for paid, _ in plan], marker_color="#3b6ea5"),
            go.Bar(name="Interest", x=axis, y=[balance - paid for paid, balance in plan], marker_color="#e0a458"),
        ]
    )
    figure.update_layout(
        barmode="stack",
        xaxis_title="Year",
        template="plotly_white",
        margin={"t": 20, "r": 10},
        legend={"orientation": "h", "y": 1.1},
    )
    return f"After {years} years: {balance:,.0f}, of which {balance - paid:,.0f} is interest.", figure
