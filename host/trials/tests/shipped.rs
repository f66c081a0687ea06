//! The cases of the plugins that Lectern ships, on their real components.
#![allow(clippy::unwrap_used, clippy::panic)]

use lectern_gate::Compiler;
use lectern_packages::{Package, Parts};
use lectern_trials::{CaseResult, Trials};

fn package(shipped: &lectern_shipped::Shipped) -> Package {
    let text = |text: &&str| (*text).to_owned();
    let parts = Parts {
        manifest: shipped.manifest.to_owned(),
        component: shipped.component.to_vec(),
        schema: Some(shipped.schema.to_owned()),
        readme: Some(shipped.readme.to_owned()),
        cases: shipped.cases.iter().map(|(file, cases)| (text(file), text(cases))).collect(),
    };
    parts.check().unwrap_or_else(|error| panic!("{}: {error}", shipped.name))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_passes() {
    let trials = Trials::start(Compiler::InProcess).unwrap();
    let mut failed = Vec::new();
    for shipped in lectern_shipped::PACKAGES {
        let package = package(shipped);
        let results = trials.run(&package, |_| true, |_| {}).await.unwrap();
        assert_eq!(results.len(), package.cases.len());
        let told =
            |result: &CaseResult| format!("{} {} {:?}\n{}", shipped.name, result.file, result.name, result.verdict);
        failed.extend(results.iter().filter(|result| !result.passed()).map(told));
    }
    assert!(failed.is_empty(), "{} cases failed:\n{}", failed.len(), failed.join("\n\n"));
}
