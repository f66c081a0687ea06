//! schemathesis over the OpenAPI document of the real server, with the keys of a viewer, a publisher and an administrator: no
//! failure of the server's, no status and no content that the document does not describe, and nothing invalid that is taken.
//!
//! The examples are the same on every run. `LECTERN_TEST_EXAMPLES=200` makes more of them for each operation than the few
//! that CI has time for.
#![allow(clippy::unwrap_used, clippy::panic)]

use lectern_tests::client::schemathesis;
use lectern_tests::server::Server;

#[test]
fn what_the_document_says_is_so() {
    let server = Server::new();
    let accounts = ["viewer", "publisher", "administrator"].map(|role| (role, server.account(role, role)));
    let roles = accounts.each_ref().map(|(role, account)| (*role, account));
    let run = schemathesis(&server, &roles).expect_success();
    println!("{}", run.stdout);
    // A run that tried nothing finds nothing.
    for (role, _) in &roles {
        assert!(run.stdout.contains(&format!("--- {role}, ")), "{}", run.stdout);
    }
    let tested = run.stdout.lines().filter_map(|line| line.trim().strip_prefix("Tested: ")?.parse::<u32>().ok());
    let tested: Vec<u32> = tested.collect();
    assert!(tested.len() == 3 && tested.iter().all(|operations| *operations > 100), "{tested:?}");
    // What was refused with care was not answered by a failure that somebody caught.
    let failures: Vec<String> =
        server.log().lines().filter(|line| line.contains(" ERROR ")).map(str::to_owned).collect();
    assert!(failures.is_empty(), "{failures:#?}");
}
