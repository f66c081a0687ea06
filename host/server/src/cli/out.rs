//! Standard output of the verbs, whose reader may leave early: `lectern plugin history | head` ends quietly.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write as _};

/// What a shell shows for a program that the system ended because nobody reads its output: 128 and the number of SIGPIPE.
const READER_LEFT: i32 = 141;

/// Prints a line to standard output, like `println!`, which panics when the reader left.
macro_rules! say {
    ($($line:tt)*) => { $crate::cli::out::line(format_args!($($line)*)) };
}

/// Writes one line. Ends the process when nobody can read it: a verb has done its work before it prints.
pub(crate) fn line(line: Arguments<'_>) {
    let Err(error) = writeln!(std::io::stdout().lock(), "{line}") else { return };
    if error.kind() == ErrorKind::BrokenPipe {
        std::process::exit(READER_LEFT);
    }
    eprintln!("lectern: write to standard output: {error}");
    std::process::exit(1);
}
