"""Says how easy a text is to read (Flesch's formula), and which sentences are long."""

import re

import gradio as gr

SAMPLE = (
    "Short sentences are easy. Sentences that go on and on, with one clause after another, until nobody remembers how they "
    "began, are not. Say one thing. Then say the next."
)


def syllables(word):
    """Counts groups of vowels: near enough for English."""
    return max(1, len(re.findall(r"[aeiouy]+", word.lower().removesuffix("e"))))


def read(text, longest):
    """Returns the score, a sentence about it, and the text with long sentences marked."""
    sentences = [part for part in re.split(r"(?<=[.!?])\s+", text.strip()) if part]
    words = re.findall(r"[A-Za-z']+", text)
    if not words:
        raise gr.Error("Write a sentence first.")
    score = 206.835 - 1.015 * len(words) / len(sentences) - 84.6 * sum(map(syllables, words)) / len(words)
    grade = "easy" if score >= 60 else "demanding" if score >= 30 else "hard"
    marked = [(part + " ", "long" if len(part.split()) > longest else None) for part in sentences]
    return round(score, 1), f"{len(words)} words in {len(sentences)} sentences: {grade} to read", marked


with gr.Blocks(title="Readability") as demo:
    gr.Markdown("# Readability\nHow easy is a text to read? 100 is very easy, 0 very hard.")
    with gr.Row():
        with gr.Column():
            text = gr.Textbox(SAMPLE, label="Text", lines=8)
            longest = gr.Slider(5, 40, 15, step=1, label="Words in a sentence that is not long")
            button = gr.Button("Read it", variant="primary")
        with gr.Column():
            score = gr.Number(label="Score")
            verdict = gr.Textbox(label="Verdict")
            sentences = gr.HighlightedText(label="Sentences", color_map={"long": "#e0a458"})
    button.click(read, [text, longest], [score, verdict, sentences])

if __name__ == "__main__":
    demo.launch()
