//! Builds again when a migration is added: the macro that embeds them sees only those there were.

fn main() {
    println!("cargo:rerun-if-changed=../../migrations");
}
