//! Real keys and certificates, made by the `openssl` program: none of them is in the repository.

use std::path::Path;
use std::process::{Command, Stdio};

/// Runs `openssl` in a directory; returns what it printed.
pub(crate) fn openssl(place: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(place)
        .stdin(Stdio::null())
        .output()
        .expect("openssl is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments:?}: {said}");
    output.stdout
}

/// A fresh RSA key as PKCS #1.
pub(crate) fn rsa_key(place: &Path, bits: &str) -> Vec<u8> {
    openssl(place, &["genrsa", "-out", "rsa.pem", bits]);
    let der = ["rsa", "-in", "rsa.pem", "-outform", "DER", "-traditional"];
    openssl(place, &der)
}
