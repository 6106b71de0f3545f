"""A page of Dash: an input, a button, a table and a graph, each with a callback."""

from __future__ import annotations

from typing import Any

from dash import Dash, Input, Output, State, dash_table, dcc, html

dash = Dash(__name__, title="Shop")
dash.layout = html.Div(
    [
        dcc.Input(id="name", value="", type="text", debounce=False),
        html.Div(id="greeting"),
        html.Button("Count", id="count"),
        html.Div("0", id="counted"),
        dcc.Upload(html.A("Upload"), id="upload"),
        dcc.Dropdown(["ten", "hundred"], "ten", id="size", clearable=False),
        dash_table.DataTable(id="table", page_size=5),
        dcc.Graph(id="graph"),
    ]
)


@dash.callback(Output("greeting", "children"), Input("name", "value"))
def greet(name: str) -> str:
    return f"hello {name or 'nobody'}"


@dash.callback(Output("counted", "children"), Input("count", "n_clicks"), State("name", "value"))
def count(clicks: int | None, name: str) -> str:
    return f"{clicks or 0} by {name}"


@dash.callback(Output("table", "data"), Output("graph", "figure"), Input("size", "value"))
def fill(size: str) -> tuple[list[dict[str, int]], dict[str, Any]]:
    numbers = range({"ten": 10, "hundred": 100}[size])
    rows = [{"number": number, "square": number * number} for number in numbers]
    figure = {"data": [{"x": [*numbers], "y": [n * n for n in numbers], "name": size}]}
    return rows, figure


app = dash.server
