//! The worker's command line, as `ps` shows it: it would be the zygote's.

use std::fs;

/// Where the kernel finds the command line: from, to (proc_pid_stat(5), fields 48 and 49).
fn place() -> Option<(usize, usize)> {
    let stat = fs::read("/proc/self/stat").ok()?;
    let stat = String::from_utf8_lossy(&stat);
    // The name in parentheses is the second field.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(45);
    let (from, to) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    (from > 0 && from < to).then_some((from, to))
}

/// Puts `arguments` behind the program's name, as many bytes of them as there is room for. What follows the command line in
/// memory stays: interpreters keep pointers to the variables there.
pub(crate) fn show(arguments: &[Vec<u8>]) {
    let Some((from, to)) = place() else { return };
    // SAFETY: the kernel put the command line there, and says where; it is this process's to write, and nobody else runs in it.
    let line = unsafe { std::slice::from_raw_parts_mut(from as *mut u8, to - from) };
    // The name stays where it is: the C library points to it.
    let Some(at) = line.iter().position(|byte| *byte == 0).map(|at| at + 1) else { return };
    let mut text = arguments.join(&0);
    text.resize(line.len() - at, 0);
    line[at..].copy_from_slice(&text);
    if let Some(last) = line.last_mut() {
        // Else the kernel would read on into what follows.
        *last = 0;
    }
}
