//! Makes bundles: gzipped archives with a manifest, right ones and wrong ones.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

/// A file of a bundle: path and contents.
pub type File = (String, Vec<u8>);

/// Packs `files` into an archive that is the same each time.
pub fn pack(files: &[File]) -> Vec<u8> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (path, contents) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(1_700_000_000);
        archive.append_data(&mut header, path, contents.as_slice()).expect("append to an archive");
    }
    archive.into_inner().and_then(GzEncoder::finish).expect("finish an archive")
}

/// A member of an archive as it is written: name, kind, the target of a link, contents.
pub type Member<'a> = (&'a [u8], tar::EntryType, Option<&'a str>, &'a [u8]);

/// Packs members as they are given: the way to make names and kinds that no packing library would write.
pub fn pack_raw(members: &[Member]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    for (name, kind, link, contents) in members {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_entry_type(*kind);
        if let Some(link) = link {
            header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        }
        header.set_size(contents.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_cksum();
        out.write_all(header.as_bytes()).expect("write a header");
        out.write_all(contents).expect("write contents");
        out.write_all(&vec![0; contents.len().next_multiple_of(512) - contents.len()]).expect("pad");
    }
    out.write_all(&[0; 1024]).expect("end the archive");
    out.finish().expect("finish an archive")
}

/// Compresses bytes: an archive that is none.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(bytes).expect("compress");
    out.finish().expect("compress")
}

/// A manifest for `mode`, listing `files`.
pub fn manifest(mode: &str, entrypoint: &str, files: &[File]) -> Value {
    let listed: serde_json::Map<String, Value> =
        files.iter().map(|(path, _)| (path.clone(), json!({"checksum": ""}))).collect();
    let mut manifest = json!({
        "version": 1,
        "locale": "en_US.UTF-8",
        "metadata": {"appmode": mode, "entrypoint": entrypoint, "primary_rmd": null, "primary_html": null},
        "files": listed,
    });
    if mode.starts_with("python-") {
        manifest["python"] = json!({
            "version": python_version(),
            "package_manager": {"name": "pip", "version": "23.0", "package_file": "requirements.txt"},
        });
    }
    if mode == "static" {
        manifest["metadata"]["primary_html"] = entrypoint.into();
    }
    manifest
}

/// Packs `files` with the manifest for `mode`.
pub fn app(mode: &str, entrypoint: &str, files: &[(&str, &str)]) -> Vec<u8> {
    let mut files: Vec<File> =
        files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect();
    let manifest = manifest(mode, entrypoint, &files);
    files.insert(0, ("manifest.json".to_owned(), manifest.to_string().into_bytes()));
    pack(&files)
}

/// The version of the Python that content runs with here.
pub fn python_version() -> String {
    let output = std::process::Command::new("/usr/bin/python3")
        .args(["-c", "import platform; print(platform.python_version())"])
        .output()
        .expect("ask Python for its version");
    String::from_utf8(output.stdout).expect("a version").trim().to_owned()
}
