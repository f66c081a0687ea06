"""Calls the server that it runs on in the name of whoever visits, with posit-sdk."""

import os

from fastapi import FastAPI, Request
from posit import connect
from posit.connect.errors import ClientError

app = FastAPI()


@app.get("/token")
def token(request: Request):
    """Says what it is told of who visits, without asking anybody."""
    return {"token": request.headers.get("Posit-Connect-User-Session-Token")}


@app.get("/")
def who(request: Request):
    """Says who visits, as the server tells the visitor's own client."""
    token = request.headers.get("Posit-Connect-User-Session-Token")
    if not token:
        return {"visitor": None}
    client = connect.Client(os.environ["HOME_SERVER"], os.environ["HOME_KEY"])
    try:
        visitor = client.with_user_session_token(token)
    except ClientError as error:
        return {"code": error.error_code, "error": error.error_message, "token": token}
    me = visitor.me
    return {"visitor": me["username"], "role": me["user_role"], "token": token, "key": visitor.cfg.api_key}
