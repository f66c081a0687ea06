//! Server-Sent Events as a browser's `EventSource` reads them, one at a time.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::server::{Account, Server};

/// Longest wait for the next line.
const PATIENCE: Duration = Duration::from_secs(60);

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its number.
    pub id: Option<u64>,
    /// Its kind; empty for an ordinary one.
    pub kind: String,
    /// What it carries.
    pub data: String,
}

/// An open stream of events.
#[derive(Debug)]
pub struct Events(BufReader<TcpStream>);

impl Events {
    /// Opens the stream at `path` with the account's key; `last` is the id of the last event that was seen.
    pub fn open(server: &Server, account: &Account, path: &str, last: Option<u64>) -> Self {
        let mut stream = TcpStream::connect(server.address()).expect("connect");
        stream.set_read_timeout(Some(PATIENCE)).expect("set a limit");
        let last = last.map_or_else(String::new, |id| format!("Last-Event-ID: {id}\r\n"));
        let host = server.address();
        let key = &account.key;
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Key {key}\r\nAccept: text/event-stream\r\n{last}\r\n"
        );
        stream.write_all(head.as_bytes()).expect("ask");
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).expect("a status line");
        assert!(line.contains(" 200 "), "{line}");
        Self(reader)
    }

    /// The next event; `None` when the server ended the stream or is gone.
    pub fn read(&mut self) -> Option<Event> {
        let mut event = Event { id: None, kind: String::new(), data: String::new() };
        loop {
            let mut line = String::new();
            match self.0.read_line(&mut line) {
                Ok(0) => return None,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("no event within {PATIENCE:?}"),
                Err(_) => return None,
                Ok(_) => {}
            }
            // The lines of the head and of the chunks have none of these names.
            match line.trim_end().split_once(": ") {
                Some(("id", id)) => event.id = id.parse().ok(),
                Some(("event", kind)) => kind.clone_into(&mut event.kind),
                Some(("data", data)) => {
                    data.clone_into(&mut event.data);
                    return Some(event);
                }
                _ => {}
            }
        }
    }
}
