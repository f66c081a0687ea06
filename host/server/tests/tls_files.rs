//! The files of `[server.tls]` as an operator meets them: everything that is wrong is said at once, before anything is bound.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

/// Runs the binary in `dir` with nothing of the caller's environment but the path.
fn lectern(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lectern"));
    command.args(args).current_dir(dir).env_clear().env("PATH", std::env::var_os("PATH").unwrap()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn write(dir: &Path, name: &str, contents: &str, mode: u32) {
    std::fs::write(dir.join(name), contents).unwrap();
    std::fs::set_permissions(dir.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A certificate for `name` and its key, as `NAME.pem` and `NAME.key`.
fn make(dir: &Path, name: &str, change: impl FnOnce(&mut CertificateParams)) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    write(dir, &format!("{name}.pem"), &params.self_signed(&key).unwrap().pem(), 0o644);
    write(dir, &format!("{name}.key"), &key.serialize_pem(), 0o640);
}

fn expire(params: &mut CertificateParams) {
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
}

/// What `lectern VERB` says with this section `[server.tls]` and a port that nobody may bind, and whether it was content.
fn said(dir: &Path, verb: &str, section: &str) -> (bool, String) {
    let file = format!("[server]\nlisten = \"192.0.2.1:1\"\n[server.tls]\n{section}\n");
    std::fs::write(dir.join("lectern.toml"), file).unwrap();
    let output = lectern(dir, &[verb, "--config", "lectern.toml"]);
    assert_eq!(output.stdout.is_empty(), !output.status.success(), "{}", text(&output.stdout));
    (output.status.success(), text(&output.stderr))
}

#[test]
fn every_mistake_is_said_with_its_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    make(dir, "one", |_| {});
    make(dir, "two", |_| {});
    let key = std::fs::read_to_string(dir.join("one.key")).unwrap();
    write(dir, "open.key", &key, 0o644);
    write(dir, "locked.key", &key.replace("PRIVATE", "ENCRYPTED PRIVATE"), 0o600);
    write(dir, "notes.txt", "nothing of use\n", 0o600);
    write(dir, "broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 0o600);
    let large = "#".repeat((1 << 20) + 1);
    write(dir, "large.pem", &large, 0o600);
    let cases: [(&str, &[&str]); 12] = [
        ("cert_file = 'one.pem'\nkey_file = 'one.key'", &[]),
        (
            "cert_file = 'one.pem'\nkey_file = 'one.key'\nclient_ca_file = 'two.pem'\nrequire_client_certificate = true",
            &[],
        ),
        (
            "cert_file = 'none.pem'\nkey_file = 'none.key'\nclient_ca_file = 'none.ca'",
            &[
                "server.tls.cert_file = DIR/none.pem (lectern.toml): cannot be read; it must be a file in PEM form that the server's account may read: No such file",
                "server.tls.key_file = DIR/none.key (lectern.toml): cannot be read; ",
                "server.tls.client_ca_file = DIR/none.ca (lectern.toml): cannot be read; ",
            ],
        ),
        (
            "cert_file = 'two.pem'\nkey_file = 'one.key'",
            &[
                "server.tls.key_file = DIR/one.key (lectern.toml): the key does not belong to the first certificate, which is that of \"CN=two\"; give the key",
            ],
        ),
        (
            "cert_file = 'one.pem'\nkey_file = 'open.key'",
            &["key_file = DIR/open.key (lectern.toml): has mode 0644: everybody on this host may read or change it"],
        ),
        (
            "cert_file = 'one.key'\nkey_file = 'one.pem'",
            &[
                "cert_file = DIR/one.key (lectern.toml): it holds no certificate",
                "key_file = DIR/one.pem (lectern.toml): has mode 0644",
            ],
        ),
        ("cert_file = 'one.pem'\nkey_file = 'notes.txt'", &["it holds no private key in PEM form"]),
        ("cert_file = 'one.pem'\nkey_file = 'locked.key'", &["its key is encrypted with a password: take that away"]),
        (
            "cert_file = '.'\nkey_file = 'one.key'\nclient_ca_file = 'broken.pem'",
            &["cert_file = DIR/. (lectern.toml): is no file", "its certificate number 1 cannot be used"],
        ),
        ("cert_file = 'large.pem'\nkey_file = 'one.key'", &["has 1048577 bytes, and at most 1048576 are read"]),
        (
            "key_file = 'one.key'",
            &["server.tls.cert_file = (not set) (default): must be set where server.tls.key_file is"],
        ),
        (
            "cert_files = 'one.pem'\nkey_file = 'none.key'\nmin_version = 1.1",
            &[
                "server.tls.cert_files = (hidden) (lectern.toml): no such key; did you mean server.tls.cert_file?",
                "server.tls.cert_file = (not set)",
                "server.tls.key_file = DIR/none.key (lectern.toml): cannot be read",
                "server.tls.min_version = 1.1 (lectern.toml): must be \"1.2\" or \"1.3\"",
            ],
        ),
    ];
    for (section, expected) in cases {
        for verb in ["check", "serve"] {
            if expected.is_empty() && verb == "serve" {
                continue;
            }
            let (content, shown) = said(dir, verb, section);
            println!("--- {verb}\n{section}\n{shown}");
            assert_eq!(content, expected.is_empty(), "{section}: {shown}");
            let lines: Vec<&str> = shown.lines().filter(|line| line.contains("server.tls.")).collect();
            assert_eq!(lines.len(), expected.len(), "{section}: {shown}");
            for line in expected {
                assert!(shown.contains(&line.replace("DIR", dir.to_str().unwrap())), "{line}\n--\n{shown}");
            }
            assert!(!shown.contains("PRIVATE KEY-----\n"), "{shown}");
        }
    }
    assert!(!dir.join("lectern-data/postgres").exists(), "nothing was started");
}

#[test]
fn a_certificate_out_of_its_time_is_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    make(dir, "old", expire);
    make(dir, "early", |params| params.not_before = date_time_ymd(3000, 1, 1));
    let (content, shown) =
        said(dir, "check", "cert_file = 'old.pem'\nkey_file = 'old.key'\nclient_ca_file = 'early.pem'");
    assert!(content, "{shown}");
    for expected in [
        "warning: server.tls.cert_file = DIR/old.pem: the certificate of \"CN=old\" expired at 2021-01-01T00:00:00Z; clients will refuse it",
        "warning: server.tls.client_ca_file = DIR/early.pem: the certificate of \"CN=early\" is not valid before 3000-01-01T00:00:00Z",
    ] {
        assert!(shown.contains(&expected.replace("DIR", dir.to_str().unwrap())), "{expected}\n--\n{shown}");
    }
    let output = lectern(dir, &["check", "--config", "lectern.toml", "--json", "--print"]);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((answer["valid"].as_bool(), answer["warnings"].as_array().unwrap().len()), (Some(true), 2), "{answer}");
    let keys = answer["keys"].as_array().unwrap();
    let key = keys.iter().find(|key| key["key"] == "server.tls.key_file").unwrap();
    assert_eq!(key["value"], dir.join("old.key").to_str().unwrap());
    let output = lectern(dir, &["doctor", "--config", "lectern.toml", "--json"]);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let finding = answer["findings"].as_array().unwrap().iter().find(|finding| finding["what"] == "TLS").unwrap();
    assert_eq!(finding["grade"], "lacking", "{finding}");
}

#[test]
fn keys_of_all_usual_forms_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let openssl = |words: &str| {
        let output = Command::new("openssl").args(words.split(' ')).current_dir(dir).output().unwrap();
        assert!(output.status.success(), "openssl {words}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let makes = [
        ("PKCS#8", "genpkey -algorithm RSA -out key", "BEGIN PRIVATE KEY"),
        ("PKCS#1", "genrsa -traditional -out key 2048", "BEGIN RSA PRIVATE KEY"),
        ("SEC 1", "ecparam -name prime256v1 -genkey -out key", "BEGIN EC PRIVATE KEY"),
        ("Ed25519", "genpkey -algorithm ED25519 -out key", "BEGIN PRIVATE KEY"),
    ];
    for (form, words, heading) in makes {
        openssl(words);
        std::fs::set_permissions(dir.join("key"), std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(std::fs::read_to_string(dir.join("key")).unwrap().contains(heading), "{form}");
        openssl("req -x509 -key key -out cert -days 2 -subj /C=CH/O=Example/CN=here");
        let (content, shown) = said(dir, "check", "cert_file = 'cert'\nkey_file = 'key'\nmin_version = '1.3'");
        assert!(content && shown.is_empty(), "{form}: {shown}");
    }
    // What is read of a certificate is what openssl prints.
    openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key -out cert -days 2 -subj /C=CH/emailAddress=a@b.example/serialNumber=7/O=A+OU=B/CN=x,y\\+z -batch",
    );
    let printed = openssl("x509 -in cert -noout -subject -nameopt RFC2253,-esc_msb");
    make(dir, "other", |_| {});
    let (_, shown) = said(dir, "check", "cert_file = 'cert'\nkey_file = 'other.key'");
    let subject = printed.trim().strip_prefix("subject=").unwrap();
    assert!(shown.contains(&format!("which is that of {subject:?}")), "{subject}\n--\n{shown}");
}
