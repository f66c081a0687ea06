//! The filter of system calls: a list of what content has no use for, compiled for this machine.
//!
//! A list of what is allowed would be shorter than the kernel's, and would break the next version of a C library; what
//! stands here is what has been used to leave a container, reaches into other processes or the kernel, or administers
//! the host. `docs/sandbox.md` repeats it with reasons.

use std::collections::BTreeMap;

use lectern_domain::confinement::Profile;
use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

macro_rules! calls {
    ($($name:ident)*) => { &[$((stringify!($name), libc::$name),)*] };
}

/// Refused by every profile, whatever the arguments.
pub const DENIED: &[(&str, i64)] = calls! {
    SYS_mount SYS_umount2 SYS_pivot_root SYS_chroot SYS_move_mount SYS_open_tree SYS_fsopen SYS_fsconfig SYS_fsmount
    SYS_fspick SYS_mount_setattr SYS_swapon SYS_swapoff SYS_quotactl SYS_acct SYS_reboot SYS_syslog SYS_vhangup
    SYS_kexec_load SYS_init_module SYS_finit_module SYS_delete_module
    SYS_ptrace SYS_process_vm_readv SYS_process_vm_writev SYS_kcmp SYS_pidfd_getfd SYS_process_madvise
    SYS_unshare SYS_setns SYS_open_by_handle_at SYS_name_to_handle_at SYS_fanotify_init SYS_lookup_dcookie
    SYS_bpf SYS_perf_event_open SYS_userfaultfd SYS_io_uring_setup SYS_io_uring_enter SYS_io_uring_register
    SYS_add_key SYS_request_key SYS_keyctl SYS_settimeofday SYS_clock_settime SYS_clock_adjtime SYS_adjtimex
    SYS_sethostname SYS_setdomainname SYS_migrate_pages SYS_move_pages SYS_mbind SYS_set_mempolicy SYS_nfsservctl
    SYS_vmsplice
};

/// Refused by the strict profile besides.
pub const DENIED_STRICT: &[(&str, i64)] = calls! {
    SYS_memfd_create SYS_execveat SYS_personality SYS_mincore SYS_sched_setattr SYS_sched_setscheduler
    SYS_sched_setparam SYS_ioprio_set SYS_mlockall SYS_get_mempolicy SYS_remap_file_pages SYS_quotactl_fd
};

/// Calls of x86 only, refused by every profile: ports, segments, 16-bit code, `kexec` from a file.
#[cfg(target_arch = "x86_64")]
const DENIED_HERE: &[(&str, i64)] =
    calls! { SYS_iopl SYS_ioperm SYS_modify_ldt SYS_kexec_file_load SYS_uselib SYS_ustat SYS_sysfs };
#[cfg(not(target_arch = "x86_64"))]
const DENIED_HERE: &[(&str, i64)] = &[];

/// Numbers of the x32 interface begin here (`__X32_SYSCALL_BIT`). Where a kernel has it, it is a second name for each call.
#[cfg(target_arch = "x86_64")]
const X32: Option<i64> = Some(0x4000_0000);
#[cfg(not(target_arch = "x86_64"))]
const X32: Option<i64> = None;

/// x32's own numbers of what is refused: `ptrace`, `kexec_load`, `vmsplice`, `move_pages`, `process_vm_readv`, `process_vm_writev`.
const X32_ONLY: &[i64] = &[521, 528, 532, 533, 539, 540];

/// Flags of `clone` that make namespaces.
const NAMESPACES: &[i32] = &[
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// `ioctl`s that put bytes into a terminal as if somebody had typed them: `TIOCSTI`, `TIOCLINUX`.
const TYPING: &[u64] = &[0x5412, 0x541c];

/// The programs of `profile`, one after the other; every one must let a call pass.
///
/// The second refuses `clone3` as unknown: its flags are in memory, out of a filter's sight, and C libraries then use `clone`.
pub(crate) fn programs(profile: Profile) -> Result<Vec<BpfProgram>, seccompiler::Error> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(seccompiler::Error::from)?;
    let compile = |rules: BTreeMap<i64, Vec<SeccompRule>>, error: i32| -> Result<BpfProgram, seccompiler::Error> {
        let refuse = SeccompAction::Errno(error.unsigned_abs());
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)?;
        Ok(BpfProgram::try_from(filter)?)
    };
    let unknown = both(libc::SYS_clone3).map(|number| (number, Vec::new())).collect();
    Ok(vec![compile(rules(profile)?, libc::EPERM)?, compile(unknown, libc::ENOSYS)?])
}

/// A number, and its x32 twin.
fn both(number: i64) -> impl Iterator<Item = i64> {
    std::iter::once(number).chain(X32.map(|bit| bit | number))
}

fn rules(profile: Profile) -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::Error> {
    let strict: &[(&str, i64)] = match profile {
        Profile::Default => &[],
        Profile::Strict => DENIED_STRICT,
    };
    let mut rules = BTreeMap::new();
    for (_, number) in DENIED.iter().chain(DENIED_HERE).chain(strict) {
        rules.extend(both(*number).map(|number| (number, Vec::new())));
    }
    rules.extend(X32.into_iter().flat_map(|bit| X32_ONLY.iter().map(move |number| (bit | number, Vec::new()))));
    let some =
        [(libc::SYS_clone, clone_rules()?), (libc::SYS_socket, socket_rules()?), (libc::SYS_ioctl, ioctl_rules()?)];
    for (number, chain) in some {
        rules.extend(both(number).map(|number| (number, chain.clone())));
    }
    Ok(rules)
}

fn clone_rules() -> Result<Vec<SeccompRule>, seccompiler::Error> {
    let rule = |flag: &i32| {
        let flag = u64::from(flag.unsigned_abs());
        let set = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(flag), flag)?;
        Ok(SeccompRule::new(vec![set])?)
    };
    NAMESPACES.iter().map(rule).collect()
}

/// Families but Unix, IPv4, IPv6 and netlink's first protocol (routes: how a C library lists addresses); and raw sockets.
fn socket_rules() -> Result<Vec<SeccompRule>, seccompiler::Error> {
    use SeccompCmpArgLen::Dword;
    let family = |op, family: i32| SeccompCondition::new(0, Dword, op, u64::from(family.unsigned_abs()));
    let kind = |kind: i32| SeccompCondition::new(1, Dword, SeccompCmpOp::MaskedEq(0xf), u64::from(kind.unsigned_abs()));
    let known = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
    let other = known.map(|known| family(SeccompCmpOp::Ne, known)).into_iter().collect::<Result<Vec<_>, _>>()?;
    let protocol = SeccompCondition::new(2, Dword, SeccompCmpOp::Ne, 0)?;
    Ok(vec![
        SeccompRule::new(other)?,
        SeccompRule::new(vec![family(SeccompCmpOp::Eq, libc::AF_NETLINK)?, protocol])?,
        SeccompRule::new(vec![family(SeccompCmpOp::Eq, libc::AF_INET)?, kind(libc::SOCK_RAW)?])?,
        SeccompRule::new(vec![family(SeccompCmpOp::Eq, libc::AF_INET6)?, kind(libc::SOCK_RAW)?])?,
    ])
}

fn ioctl_rules() -> Result<Vec<SeccompRule>, seccompiler::Error> {
    let rule = |request: &u64| {
        let is = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, *request)?;
        Ok(SeccompRule::new(vec![is])?)
    };
    TYPING.iter().map(rule).collect()
}

/// A program as the kernel and bubblewrap read it: an array of `struct sock_filter`.
pub(crate) fn bytes(program: &BpfProgram) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(program.len() * 8);
    for step in program {
        bytes.extend(step.code.to_ne_bytes());
        bytes.extend([step.jt, step.jf]);
        bytes.extend(step.k.to_ne_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn programs_fit_the_kernel() {
        for profile in [Profile::Default, Profile::Strict] {
            let programs = programs(profile).unwrap();
            assert_eq!(programs.len(), 2);
            for program in &programs {
                assert!(program.len() < 4096, "{}", program.len());
                assert_eq!(bytes(program).len(), program.len() * 8);
            }
        }
    }

    #[test]
    fn the_documentation_names_every_call() {
        let page = include_str!("../../../docs/sandbox.md");
        for (name, _) in DENIED.iter().chain(DENIED_HERE).chain(DENIED_STRICT) {
            let name = name.trim_start_matches("SYS_");
            let shown = if name.starts_with("io_uring_") { "`io_uring_*`".to_owned() } else { format!("`{name}`") };
            assert!(page.contains(&shown), "{shown} is not in docs/sandbox.md");
        }
    }

    #[test]
    fn the_strict_profile_refuses_more() {
        let (default, strict) = (rules(Profile::Default).unwrap(), rules(Profile::Strict).unwrap());
        assert!(default.keys().all(|number| strict.contains_key(number)));
        assert!(!default.contains_key(&libc::SYS_memfd_create) && strict.contains_key(&libc::SYS_memfd_create));
        for needed in [libc::SYS_execve, libc::SYS_openat, libc::SYS_futex, libc::SYS_fork, libc::SYS_capset] {
            assert!(!strict.contains_key(&needed), "{needed}");
        }
    }
}
