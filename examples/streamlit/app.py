"""Says how many people a survey must ask, and keeps the answers of this visit beside each other."""

import math

import pandas as pd
import streamlit as st

Z = {"90 %": 1.6449, "95 %": 1.96, "99 %": 2.5758}


def sample_size(population, margin, confidence, share):
    """Returns the size of a random sample (Cochran's formula, with the correction for finite populations)."""
    needed = Z[confidence] ** 2 * share * (1 - share) / margin**2
    return math.ceil(needed / (1 + (needed - 1) / population))


st.set_page_config(page_title="Sample size", page_icon="📋")
st.title("Sample size")
st.write("How many people must a survey ask to be as exact as you want?")

left, right = st.columns(2)
population = left.number_input("People in all", 10, 100_000_000, 10_000, step=1000)
confidence = right.selectbox("Confidence", list(Z), index=1)
margin = st.slider("Margin of error, in percent", 1, 10, 5)

size = sample_size(population, margin / 100, confidence, 0.5)
st.metric("People to ask", f"{size:,}", f"{size / population:.1%} of all", delta_color="off")

if st.button("Keep this one", type="primary"):
    st.session_state.setdefault("kept", []).append(
        {"all": population, "confidence": confidence, "margin": f"{margin} %", "people to ask": size}
    )
if kept := st.session_state.get("kept"):
    st.dataframe(pd.DataFrame(kept), hide_index=True)

margins = range(1, 11)
sizes = [sample_size(population, percent / 100, confidence, 0.5) for percent in margins]
st.line_chart(pd.DataFrame({"people to ask": sizes}, index=margins), x_label="margin of error, in percent")
