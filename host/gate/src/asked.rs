//! Tells what a guest asks: one line for each question, at the level TRACE, for whoever runs a plugin's cases or looks for the
//! reason of a decision. Where nobody listens it costs a comparison.

use tracing::Level;

use crate::learn::Question;

/// Names the lines in the log: the message is the function's name and its arguments, secrets left out.
macro_rules! tell {
    ($($text:tt)*) => {
        if tracing::enabled!(target: "lectern::asked", tracing::Level::TRACE) {
            tracing::trace!(target: "lectern::asked", $($text)*);
        }
    };
}

pub(crate) use tell;

/// Tells a question that is answered from the request, the accounts and what is published.
pub(crate) fn question(question: &Question) {
    if !tracing::enabled!(target: "lectern::asked", Level::TRACE) {
        return;
    }
    match question {
        // The host asks these on the way to another answer.
        Question::Secret(_) | Question::KeySet(_) => {}
        Question::FindUser(name) => tell!("find-user {name}"),
        Question::VisitorPresent => tell!("present"),
        Question::VisitorSubject => tell!("subject"),
        Question::Take(take) => tell!("take {} {} {}", take.bucket, take.per_minute, take.burst),
        other => match other.argument() {
            Some(argument) => tell!("{} {argument}", other.kind()),
            None => tell!("{}", other.kind()),
        },
    }
}
