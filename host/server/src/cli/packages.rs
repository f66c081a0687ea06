//! `lectern packages`: the cache of R packages of a running server.

use clap::{Args, Subcommand};

use super::client::{ServerArgs, table};
use crate::admin::protocol::{EvictPackage, EvictedView, PackageView};

#[derive(Debug, Subcommand)]
pub(super) enum PackagesVerb {
    /// List the built packages in the cache.
    List(ListArgs),
    /// Remove a package from the cache; it is fetched and built again when content that wants it is next deployed.
    ///
    /// Content that runs goes on, and keeps the package it was deployed with until it is deployed again.
    Evict(EvictArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
pub(super) struct EvictArgs {
    /// The package's name.
    name: String,
    /// Its version; without, all versions are removed.
    version: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) fn run(verb: PackagesVerb) -> anyhow::Result<()> {
    match verb {
        PackagesVerb::List(args) => {
            let packages: Vec<PackageView> = args.server.call("/packages/list", &serde_json::json!({}))?;
            if args.server.json {
                say!("{:#}", serde_json::to_value(&packages)?);
            } else {
                let rows: Vec<Vec<String>> = packages.into_iter().map(row).collect();
                table(&["NAME", "VERSION", "R", "FROM", "KIND", "KEY", "BUILT"], &rows);
            }
        }
        PackagesVerb::Evict(args) => {
            let ask = EvictPackage { name: args.name, version: args.version };
            let evicted: EvictedView = args.server.call("/packages/evict", &ask)?;
            if args.server.json {
                say!("{:#}", serde_json::to_value(&evicted)?);
            } else {
                for package in &evicted.packages {
                    say!("evicted {} {} ({})", package.name, package.version, package.key);
                }
                if evicted.packages.is_empty() {
                    say!("nothing was built of it; {} archives were removed", evicted.archives);
                }
            }
        }
    }
    Ok(())
}

fn row(package: PackageView) -> Vec<String> {
    let kind = if package.binary { "binary" } else { "source" };
    let PackageView { name, version, r_version, from, key, built_at, .. } = package;
    vec![name, version, r_version, from, kind.to_owned(), key[..12.min(key.len())].to_owned(), built_at]
}
