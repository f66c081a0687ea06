//! The program that takes another one's place: the same process, with its children and descriptors, goes on.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::ExitCode;

use nix::unistd;

use crate::identity::identity;
use crate::protocol::{ErrorCode, Refusal};
use crate::run;
use crate::state::{MAX_BYTES, State};
use crate::sys;
use crate::upgrade::{CHECK, Checked, NOBODY, RESUME};

/// Takes another supervisor's place, or says whether it could, if this program was started for that; the caller then ends with
/// that status. Must come before anything else: it expects a process of one thread. `log` is called before anything is logged.
pub fn run_if_asked(log: impl FnOnce()) -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let word = arguments.next()?;
    if word == CHECK {
        return Some(check());
    }
    if word != RESUME {
        return None;
    }
    log();
    let arguments: Vec<OsString> = arguments.collect();
    Some(resume(&arguments).unwrap_or_else(|error| {
        tracing::error!(error, "cannot take the place of a supervisor");
        ExitCode::FAILURE
    }))
}

/// Reads a state and says whether it could.
fn check() -> ExitCode {
    let mut bytes = Vec::new();
    let read = io::stdin().take(MAX_BYTES).read_to_end(&mut bytes).map_err(|error| error.to_string());
    let because = read.and_then(|_| State::read(&bytes).map_err(|error| chain(&error))).err();
    let checked = Checked { reads: because.is_none(), because, program: identity() };
    match serde_json::to_string(&checked) {
        Ok(line) => {
            println!("{line}");
            if checked.reads { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(_) => ExitCode::FAILURE,
    }
}

/// `STATE BEFORE SOCKET [REASON]`: the descriptors of the state and of the program before this one, and why that one is back.
fn resume(arguments: &[OsString]) -> Result<ExitCode, String> {
    let number = |at: usize| arguments.get(at).and_then(|text| text.to_str()?.parse::<RawFd>().ok());
    let wrong = || format!("{RESUME} is started by lectern itself");
    let memory = number(0).ok_or_else(wrong)?;
    let before = arguments.get(1).filter(|text| *text != NOBODY).and_then(|_| number(1));
    let mut memory = sys::claim(memory).map(File::from).map_err(|error| format!("take the state: {error}"))?;
    let (state, descriptors) = match read(&mut memory) {
        Ok(read) => read,
        Err(reason) => {
            let error = give_back(memory, before, arguments, &reason);
            return Err(format!("{reason}; {error}"));
        }
    };
    drop(memory);
    if let Some(before) = before {
        drop(sys::claim(before));
    }
    let refused = arguments.get(3).map(|reason| {
        let text = format!("the program began and gave the place back: {}", reason.to_string_lossy());
        tracing::error!(reason = text, "the supervisor goes on with the program from before");
        Refusal::new(ErrorCode::NotUpgraded, text)
    });
    run::again(state, descriptors, refused).map_err(|error| chain(&error))
}

/// Reads the state and takes the descriptors that it names.
fn read(memory: &mut File) -> Result<(State, Descriptors), String> {
    let mut bytes = Vec::new();
    memory.take(MAX_BYTES).read_to_end(&mut bytes).map_err(|error| format!("read the state: {error}"))?;
    let state = State::read(&bytes).map_err(|error| chain(&error))?;
    let numbers = state.descriptors();
    // All are looked at before any is taken: until it is sure that this program goes on, they are the other one's.
    let mut seen = HashSet::new();
    if let Some(wrong) = numbers.iter().find(|number| !sys::is_open(**number) || !seen.insert(**number)) {
        return Err(format!("descriptor {wrong} of the state is not open, or is there twice"));
    }
    let claim = |number| sys::claim(number).map(|held| (number, held));
    let held = numbers.into_iter().map(claim).collect::<io::Result<_>>();
    let held = held.map_err(|error| format!("take the descriptors of the state: {error}"))?;
    Ok((state, Descriptors(held)))
}

/// Becomes the program from before again; why it does not. The descriptors of the state have not been touched.
fn give_back(mut memory: File, before: Option<RawFd>, arguments: &[OsString], reason: &str) -> String {
    let Some(before) = before else { return "there is no program to give the place back to".to_owned() };
    tracing::error!(reason, "giving the place back to the program from before");
    let number = memory.as_raw_fd().to_string();
    let socket = arguments.get(2).cloned().unwrap_or_default();
    let words = [OsString::from("lectern"), RESUME.into(), number.into(), NOBODY.into(), socket, reason.into()];
    let words = words.map(|word| CString::new(word.into_vec()).unwrap_or_default());
    let variables = std::env::vars_os().map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat());
    let environment: Vec<CString> = variables.filter_map(|variable| CString::new(variable).ok()).collect();
    let mut exec = || -> io::Result<Infallible> {
        memory.seek(SeekFrom::Start(0))?;
        sys::keep_over_exec(&[memory.as_raw_fd()], true)?;
        Ok(unistd::fexecve(sys::claim(before)?, &words, &environment)?)
    };
    match exec() {
        Err(error) => format!("become the program from before: {error}"),
        Ok(never) => match never {},
    }
}

/// Descriptors that were open when this program began, by their numbers.
#[derive(Debug, Default)]
pub(crate) struct Descriptors(HashMap<RawFd, OwnedFd>);

impl Descriptors {
    /// Gives one out, once.
    pub(crate) fn claim(&mut self, number: RawFd) -> io::Result<OwnedFd> {
        self.0.remove(&number).ok_or_else(|| io::Error::other(format!("descriptor {number} is not to be had")))
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
