#![allow(clippy::unwrap_used)]

mod comparing;
mod reading;
