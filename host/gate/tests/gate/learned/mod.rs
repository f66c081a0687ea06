//! Decisions that are found again: nothing but the number of calls may show it.

mod alike;
mod changes;
mod limits;
mod once;
mod tokens;
mod world;
