//! What a pre-forked interpreter runs: the programs that import a framework and wait, and the library that forks for them.
//!
//! An interpreter that has imported its framework waits in a cell of its own, the zygote. Asked for a worker, it forks; the
//! child becomes the worker. The two programs here do that for Python and for R, with [`lectern-fork`](FILES), a native
//! library: R has no `fork`, `recvmsg` or `dup2`, and Python's would keep pages busy in the process that watches the worker.
//!
//! Between supervisor and zygote, on a socket pair whose number is in `LECTERN_ZYGOTE_FD`: the zygote says `H` when it is
//! ready; each message to it carries five descriptors (orders as a file in memory, standard output, standard error, a socket
//! for this worker, a pipe to say on that it listens) and asks for one fork. On the worker's socket its keeper, the process between zygote and worker, says `H`
//! and waits for `G`; then it forks the worker. It is told `T` to have the worker end, and says `C` or `S` with a number, as
//! four bytes of this machine, when the worker has ended: the status, or the signal. The orders are texts, each with a zero
//! byte behind it: working directory, home, number of arguments, arguments, and variables as `NAME=value`.

/// The files, by name; they belong into one directory.
pub const FILES: &[(&str, &[u8])] = &[
    ("lectern_zygote.py", include_bytes!("../launchers/lectern_zygote.py")),
    ("lectern_zygote.R", include_bytes!("../launchers/lectern_zygote.R")),
    ("lectern_fork.so", include_bytes!(concat!(env!("OUT_DIR"), "/lectern_fork.so"))),
];
