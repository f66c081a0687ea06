"""Counts what is in a text: characters, words, sentences, and how long it takes to read."""

import re
from collections import Counter

from flask import Flask, jsonify, request

app = Flask(__name__)

WORDS_PER_MINUTE = 230


def statistics(text):
    """Returns the counts for `text` as a dictionary."""
    words = re.findall(r"\w+(?:['’-]\w+)*", text.lower())
    sentences = [part for part in re.split(r"[.!?]+(?:\s|$)", text) if part.strip()]
    return {
        "characters": len(text),
        "words": len(words),
        "sentences": len(sentences),
        "different_words": len(set(words)),
        "most_common": Counter(words).most_common(5),
        "reading_seconds": round(60 * len(words) / WORDS_PER_MINUTE, 1),
    }


@app.get("/")
def index():
    """Says where to look."""
    return jsonify({"title": "Text statistics", "try": "statistics?text=To+be,+or+not+to+be."})


@app.route("/statistics", methods=["GET", "POST"])
def count():
    """Counts the text in `?text=` or in the request's body."""
    text = request.args.get("text") or request.get_data(as_text=True)
    if not text.strip():
        return jsonify(error="send a text in ?text= or as the body"), 400
    return jsonify(statistics(text))
