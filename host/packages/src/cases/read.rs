//! Reads files of cases, telling all their mistakes with file and case.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use lectern_domain::plugin::Hook;
use toml::{Table, Value};

use super::forms::{guid, headers, method, texts};
use super::{
    CASE_FILE_BYTES, Case, CaseHook, Certificate, Expect, Identity, MAX_CASES, Request, Scheme, Target, expect, world,
};
use crate::fields::{self, Fields};
use crate::manifest::one_line;
use crate::mistake::Mistakes;

/// How many are printed.
const MAX_SHOWN: usize = 50;

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseProblem {
    /// The file, without its directory.
    pub file: String,
    /// The case's name, or its number where it has none; `None`: the file as a whole.
    pub case: Option<String>,
    /// What.
    pub problem: String,
}

impl fmt::Display for CaseProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cases/{}: ", self.file)?;
        if let Some(case) = &self.case {
            write!(f, "case {case}: ")?;
        }
        f.write_str(&self.problem)
    }
}

/// Everything that is wrong with a package's cases. Printed one a line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CasesError(pub Vec<CaseProblem>);

impl fmt::Display for CasesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.0.iter().take(MAX_SHOWN).enumerate() {
            let newline = if n == 0 { "" } else { "\n" };
            write!(f, "{newline}{problem}")?;
        }
        match self.0.len().saturating_sub(MAX_SHOWN) {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

impl std::error::Error for CasesError {}

/// Reads one file. `file` is its name without the directory.
pub fn read_cases(file: &str, text: &str) -> Result<Vec<Case>, CasesError> {
    read_all(&BTreeMap::from([(file.to_owned(), text.to_owned())]))
}

/// Reads the files of a package, in order.
pub(crate) fn read_all(files: &BTreeMap<String, String>) -> Result<Vec<Case>, CasesError> {
    let mut cases = Vec::new();
    let mut problems = Vec::new();
    for (file, text) in files {
        read_file(file, text, &mut cases, &mut problems);
    }
    if cases.len() > MAX_CASES {
        let file = files.keys().last().cloned().unwrap_or_default();
        let problem = format!("with this file there are {} cases, more than {MAX_CASES}", cases.len());
        problems.push(CaseProblem { file, case: None, problem });
    }
    if problems.is_empty() { Ok(cases) } else { Err(CasesError(problems)) }
}

/// Refuses cases that ask a plugin for what its manifest does not name.
pub(crate) fn check_hooks(cases: &[Case], hooks: &BTreeSet<Hook>) -> Result<(), CasesError> {
    let problem = |case: &Case| {
        let needs = case.hook.needs().filter(|hook| !hooks.contains(hook))?;
        Some(CaseProblem {
            file: case.file.clone(),
            case: Some(format!("{:?}", case.name)),
            problem: format!("hook = {:?}: the manifest's hooks do not name {}", case.hook.as_str(), needs.as_str()),
        })
    };
    let problems: Vec<CaseProblem> = cases.iter().filter_map(problem).collect();
    if problems.is_empty() { Ok(()) } else { Err(CasesError(problems)) }
}

fn read_file(file: &str, text: &str, cases: &mut Vec<Case>, problems: &mut Vec<CaseProblem>) {
    let mut note = |case: Option<&str>, problem: String| {
        problems.push(CaseProblem { file: file.to_owned(), case: case.map(str::to_owned), problem });
    };
    if text.len() > CASE_FILE_BYTES {
        return note(None, format!("has {} bytes, more than {CASE_FILE_BYTES}", text.len()));
    }
    let table: Table = match text.parse() {
        Ok(table) => table,
        Err(error) => return note(None, format!("is not TOML: {}", one_line(text, &error))),
    };
    let mut mistakes = Mistakes::default();
    let mut root = Fields::new(table, "", &mut mistakes);
    let tables = root.tables("case");
    root.finish();
    if tables.is_empty() && mistakes.is_empty() {
        note(None, "holds no case: each begins with [[case]]".into());
    }
    mistakes.iter().for_each(|mistake| note(None, mistake.to_string()));
    let mut names = BTreeSet::new();
    for (n, table) in tables.into_iter().enumerate() {
        let mut mistakes = Mistakes::default();
        let given = table.get("name").and_then(Value::as_str).map(|name| crate::mistake::quoted(name, 120));
        let label = given.unwrap_or_else(|| (n + 1).to_string());
        let case = read_case(file, Fields::new(table, "", &mut mistakes));
        mistakes.iter().for_each(|mistake| note(Some(&label), mistake.to_string()));
        match case {
            Some(case) if mistakes.is_empty() => {
                if !names.insert(case.name.clone()) {
                    note(Some(&label), "there is another case of this name in the file".into());
                }
                cases.push(case);
            }
            _ => {}
        }
    }
}

fn read_case(file: &str, mut fields: Fields<'_>) -> Option<Case> {
    let name = fields.required("name", "one line that says what the case shows", |value| fields::line(value, 120));
    let words: Vec<&str> = CaseHook::ALL.into_iter().map(CaseHook::as_str).collect();
    let form = format!("one of {}", words.join(", "));
    let hook = fields.required("hook", &form, |value| {
        fields::word(value, &form, |text| CaseHook::ALL.into_iter().find(|hook| hook.as_str() == text))
    });
    let read_config = |value: &Value| match value {
        Value::Table(table) => fields::json_object(table),
        _ => Err("must be a table".into()),
    };
    let config = fields.optional("config", read_config).unwrap_or_default();
    let request = fields.table("request").map(read_request);
    let visitor = fields.table("visitor").map(read_visitor);
    let target = fields.table("target").map(read_target);
    let world = fields.table("world").map(world::read).unwrap_or_default();
    let expect = match fields.table("expect") {
        Some(expect) => expect::read(expect, hook),
        None => {
            fields.refuse("expect", None, "missing: a case says what must come out in [case.expect]");
            None
        }
    };
    if let Some(hook) = hook {
        check_fit(&mut fields, hook, request.is_some(), visitor.is_some(), target.is_some());
    }
    fields.finish();
    let expect: Expect = expect?;
    Some(Case {
        file: file.to_owned(),
        name: name?,
        hook: hook?,
        config,
        request: request.unwrap_or_default(),
        visitor: visitor.flatten(),
        target: target.flatten(),
        world,
        expect,
    })
}

/// What is known differs from hook to hook; a case that sets what a plugin cannot see would test nothing.
fn check_fit(fields: &mut Fields<'_>, hook: CaseHook, request: bool, visitor: bool, target: bool) {
    let word = hook.as_str();
    if hook == CaseHook::Check && request {
        fields.refuse("request", None, "there is no request when a configuration is checked");
    }
    if hook != CaseHook::Select && visitor {
        fields.refuse("visitor", None, format!("nobody is known in the hook {word}: only select knows the visitor"));
    }
    match (hook, target) {
        (CaseHook::Select, false) => {
            fields.refuse("target", None, "missing: select is asked when the target is known");
        }
        (CaseHook::Select | CaseHook::Authenticate, true) | (_, false) => {}
        (_, true) => {
            fields.refuse(
                "target",
                None,
                format!("no target is known in the hook {word}: only authenticate and select know it"),
            );
        }
    }
}

fn read_request(mut request: Fields<'_>) -> Request {
    let usual = Request::default();
    let address = |value: &Value| fields::word(value, "an IP address", |text| text.parse::<IpAddr>().ok());
    let method = request.optional("method", method).unwrap_or(usual.method);
    let target = request.optional("target", |value| {
        fields::word(value, "a path that begins with a slash, and perhaps a query, as clients send it", |text| {
            let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
            (text.starts_with('/') && plain).then(|| text.to_owned())
        })
    });
    let host = request.optional("host", |value| {
        fields::word(value, "a host name, and perhaps a port, as clients send it", |text| {
            let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#@".contains(&byte));
            (!text.is_empty() && plain).then(|| text.to_owned())
        })
    });
    let scheme = request.optional("scheme", |value| {
        fields::word(value, "\"https\" or \"http\"", |text| {
            [Scheme::Https, Scheme::Http].into_iter().find(|scheme| scheme.as_str() == text)
        })
    });
    let client_ip = request.optional("client_ip", address).unwrap_or(usual.client_ip);
    let peer_ip = request.optional("peer_ip", address).unwrap_or(client_ip);
    let client_certificate = request.table("client_certificate").and_then(read_certificate);
    let headers = headers(&mut request, "headers").unwrap_or_default();
    if headers.iter().any(|(name, _)| name == "host") {
        request.refuse("headers", None, "the host is given by request.host");
    }
    let body = request.optional("body", fields::text).unwrap_or_default().into_bytes();
    request.finish();
    Request {
        method,
        target: target.unwrap_or(usual.target),
        host: host.unwrap_or(usual.host),
        scheme: scheme.unwrap_or(usual.scheme),
        client_ip,
        peer_ip,
        client_certificate,
        headers,
        body,
    }
}

fn read_certificate(mut certificate: Fields<'_>) -> Option<Certificate> {
    let sha256_form = "64 hexadecimal digits in lower case";
    let sha256 = certificate.optional("sha256", |value| {
        fields::word(value, sha256_form, |text| {
            let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            (text.len() == 64 && text.bytes().all(is_digit)).then(|| text.to_owned())
        })
    });
    let subject = certificate.required("subject", "the subject as RFC 4514 text, as \"CN=proxy\"", fields::text);
    let dns_names = certificate.optional("dns_names", texts).unwrap_or_default();
    certificate.finish();
    // Which digits they are matters to few cases.
    Some(Certificate { sha256: sha256.unwrap_or_else(|| "0".repeat(64)), subject: subject?, dns_names })
}

fn read_visitor(mut visitor: Fields<'_>) -> Option<Identity> {
    let subject = visitor.required("subject", "the visitor's subject", |value| fields::line(value, 256));
    let identity = Identity {
        subject: subject.clone().unwrap_or_default(),
        display_name: visitor.optional("display_name", fields::text),
        groups: visitor.optional("groups", texts).unwrap_or_default(),
        claims: visitor.map("claims", |_, value| fields::text(value)).unwrap_or_default().into_iter().collect(),
        ttl: None,
    };
    visitor.finish();
    subject.map(|_| identity)
}

fn read_target(mut target: Fields<'_>) -> Option<Target> {
    let content = target.required("content", "a content GUID", guid);
    let bundles = target.optional("bundles", |value| {
        let numbers: Option<Vec<i64>> =
            value.as_array().and_then(|items| items.iter().map(|item| item.as_integer().filter(|n| *n > 0)).collect());
        numbers.ok_or_else(|| "must be a list of bundle numbers, which begin with 1".into())
    });
    let bundles = bundles.unwrap_or_default();
    let active = target.optional("active", |value| {
        let number = value.as_integer().filter(|number| bundles.contains(number));
        number.ok_or_else(|| "must be one of target.bundles".into())
    });
    target.finish();
    Some(Target { content: content?, bundles, active })
}
