"""Forecasts a short series with Holt's linear trend: two smoothing factors, no training, no dependencies."""

import json
from typing import Annotated

from fastapi import FastAPI, Header, HTTPException, Query
from pydantic import BaseModel, Field, FiniteFloat

app = FastAPI(title="Forecast", description="Forecasts a short series with Holt's linear trend.")

Factor = Annotated[float, Field(gt=0, le=1)]


class Series(BaseModel):
    """What to forecast."""

    values: list[FiniteFloat] = Field(min_length=2, max_length=10_000, examples=[[10, 12, 14, 16]])
    steps: int = Field(default=3, ge=1, le=100, description="how many values to forecast")
    level_factor: Factor = Field(default=0.8, description="weight of the newest value in the level")
    trend_factor: Factor = Field(default=0.2, description="weight of the newest change in the trend")


class Forecast(BaseModel):
    """The forecast, with the level and the trend it continues."""

    level: float
    trend: float
    forecast: list[float]


def holt(series: Series) -> Forecast:
    """Smooths the level and the trend over the series and continues them."""
    level, trend = series.values[0], series.values[1] - series.values[0]
    for value in series.values[1:]:
        before = level
        level = series.level_factor * value + (1 - series.level_factor) * (level + trend)
        trend = series.trend_factor * (level - before) + (1 - series.trend_factor) * trend
    ahead = [round(level + step * trend, 6) for step in range(1, series.steps + 1)]
    return Forecast(level=round(level, 6), trend=round(trend, 6), forecast=ahead)


@app.get("/")
def index() -> dict[str, str]:
    """Says where to look."""
    return {"title": app.title, "documentation": "docs", "try": "forecast?values=10,12,14,16&steps=2"}


@app.post("/forecast")
def forecast(series: Series) -> Forecast:
    """Forecasts the series in the request's body."""
    return holt(series)


@app.get("/forecast")
def forecast_from_query(
    values: Annotated[str, Query(description="numbers, separated by commas", examples=["10,12,14,16"])],
    steps: Annotated[int, Query(ge=1, le=100)] = 3,
) -> Forecast:
    """Forecasts the series in the address: for trying it in a browser."""
    try:
        series = Series(values=[float(value) for value in values.split(",")], steps=steps)
    except ValueError as error:
        raise HTTPException(422, "values: two or more numbers, separated by commas") from error
    return holt(series)


@app.get("/whoami")
def whoami(rstudio_connect_credentials: Annotated[str | None, Header()] = None) -> dict[str, str | None]:
    """Answers who the server says is asking: the header is set by the server and cannot be sent by a visitor."""
    if rstudio_connect_credentials is None:
        return {"user": None}
    return {"user": json.loads(rstudio_connect_credentials)["user"]}
